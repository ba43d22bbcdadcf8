/* What the panels of the Grafana dashboard ask, in the order in which they are read. */

type Unit = 'reqps' | 'ops' | 's' | 'percentunit' | 'short' | 'bytes';

interface Query {
  readonly expr: string;
  /** How a line is called, in Grafana's words. */
  readonly legend: string;
}

export interface PanelPlan {
  readonly title: string;
  /** What it means, and what to do where it looks wrong. */
  readonly about: string;
  readonly unit: Unit;
  readonly queries: readonly Query[];
  readonly stacked?: boolean;
}

export const HERE = 'job=~"$job",gateway=~"$gateway"';
const SERVICE = `${HERE},service=~"$service"`;
const INSTANCE = `${SERVICE},instance=~"$instance"`;
const per = (labels: string, series: string, selector: string): string =>
  `sum by (${labels}) (rate(${series}{${selector}}[$__rate_interval]))`;
const quantile = (share: number, series: string, selector: string, by = ''): string =>
  `histogram_quantile(${share}, ${per(`le${by}`, `${series}_bucket`, selector)})`;
const one = (expr: string, legend: string): readonly Query[] => [{ expr, legend }];
const quantiles = (series: string, selector: string, by = '', name = ''): readonly Query[] =>
  ([0.5, 0.99] as const).map((share) => ({
    expr: quantile(share, series, selector, by),
    legend: `${name}p${share * 100}`,
  }));

const SERVICES: readonly PanelPlan[] = [
  {
    title: 'Requests',
    about: 'By service, as clients ask. (none): no service answers at the host.',
    unit: 'reqps',
    queries: one(per('service', 'fairlead_requests_total', SERVICE), '{{service}}'),
  },
  {
    title: 'Errors by code',
    about: 'What clients got that was no success. The flag in the access log says whose fault each is.',
    unit: 'reqps',
    stacked: true,
    queries: one(per('service, code', 'fairlead_requests_total', `${SERVICE},code=~"4..|5.."`), '{{service}} {{code}}'),
  },
  {
    title: 'Share of errors (5xx)',
    about: 'FairleadErrors pages above 5 %.',
    unit: 'percentunit',
    queries: one(
      `${per('service', 'fairlead_requests_total', `${SERVICE},code=~"5.."`)} / ${per('service', 'fairlead_requests_total', SERVICE)}`,
      '{{service}}',
    ),
  },
  {
    title: 'Duration of requests',
    about: 'From the first byte of the request head to the last byte of the response.',
    unit: 's',
    queries: quantiles('fairlead_request_duration_seconds', SERVICE, ', service', '{{service}} '),
  },
  {
    title: 'Overhead',
    about: 'The part that neither instance nor client caused. High: the gateway is short of CPU.',
    unit: 's',
    queries: quantiles('fairlead_request_overhead_seconds', SERVICE),
  },
  {
    title: 'Instances by state',
    about: 'Available and degraded take traffic; every other word is the first thing against them.',
    unit: 'short',
    stacked: true,
    queries: one(`sum by (service, state) (fairlead_instances{${SERVICE}})`, '{{service}} {{state}}'),
  },
  {
    title: 'Attempts by outcome',
    about: 'Tries on instances. More than requests: retries.',
    unit: 'ops',
    stacked: true,
    queries: one(per('outcome', 'fairlead_attempts_total', SERVICE), '{{outcome}}'),
  },
  {
    title: 'Retries and their budget',
    about: 'By why they were made; forbidden: wanted and safe, but the budget was used up.',
    unit: 'ops',
    queries: [
      { expr: per('reason', 'fairlead_retries_total', SERVICE), legend: '{{reason}}' },
      { expr: per('service', 'fairlead_retry_budget_exhausted_total', SERVICE), legend: 'forbidden {{service}}' },
    ],
  },
  {
    title: 'Breaker transitions',
    about: 'Opening and closing in turn is flapping: instances that work for a moment.',
    unit: 'ops',
    queries: one(per('service, to', 'fairlead_breaker_transitions_total', SERVICE), '{{service}} to {{to}}'),
  },
  {
    title: 'Panic and fallback',
    about: '1: probe verdicts are ignored, or only fallback instances have the traffic.',
    unit: 'short',
    queries: [
      { expr: `max by (service) (fairlead_panic{${SERVICE}})`, legend: 'panic {{service}}' },
      { expr: `max by (service) (fairlead_fallback{${SERVICE}})`, legend: 'fallback {{service}}' },
    ],
  },
  {
    title: 'Outliers',
    about: 'Instances that do clearly worse than their peers: ejected, observed, or kept in by the cap.',
    unit: 'ops',
    queries: one(per('service, by, mode', 'fairlead_outlier_ejections_total', SERVICE), '{{service}} {{by}} {{mode}}'),
  },
  {
    title: 'Queue',
    about: 'Requests that wait because every instance has as many as it may, and those turned away.',
    unit: 'short',
    queries: [
      { expr: `sum by (service) (fairlead_queue_length{${SERVICE}})`, legend: '{{service}} waiting' },
      { expr: per('service, reason', 'fairlead_queue_rejections_total', SERVICE), legend: '{{service}} {{reason}}/s' },
    ],
  },
];

const INSTANCES: readonly PanelPlan[] = [
  {
    title: 'Attempts by instance',
    about: 'How evenly they are spread.',
    unit: 'ops',
    queries: one(per('service, instance', 'fairlead_instance_requests_total', INSTANCE), '{{service}}/{{instance}}'),
  },
  {
    title: 'In flight by instance',
    about: 'One that grows while its peers do not is slow.',
    unit: 'short',
    queries: one(`sum by (service, instance) (fairlead_instance_inflight{${INSTANCE}})`, '{{service}}/{{instance}}'),
  },
  {
    title: 'Up by instance',
    about:
      '1 while registry, probes, breaker, ejection and drain all let it take traffic. `fairlead explain` says which does not.',
    unit: 'short',
    queries: one(`min by (service, instance) (fairlead_instance_up{${INSTANCE}})`, '{{service}}/{{instance}}'),
  },
  {
    title: 'Breaker by instance',
    about: '0 closed, 1 open, 2 half-open.',
    unit: 'short',
    queries: one(`max by (service, instance) (fairlead_breaker_state{${INSTANCE}})`, '{{service}}/{{instance}}'),
  },
];

const PROBES: readonly PanelPlan[] = [
  {
    title: 'Probes by result',
    about: 'discarded: not believed, because the gateway itself was in trouble.',
    unit: 'ops',
    stacked: true,
    queries: one(per('type, result', 'fairlead_probes_total', SERVICE), '{{type}} {{result}}'),
  },
  {
    title: 'Duration of probes',
    about: 'By type.',
    unit: 's',
    queries: quantiles('fairlead_probe_duration_seconds', HERE, ', type', '{{type}} '),
  },
  {
    title: 'Probe lag',
    about: 'How late probes begin: who dies is noticed later by that much.',
    unit: 's',
    queries: quantiles('fairlead_probe_lag_seconds', HERE),
  },
];

const REGISTRIES: readonly PanelPlan[] = [
  {
    title: 'Registries up',
    about: '0: lost, and the last good set is in use.',
    unit: 'short',
    queries: one(`min by (registry, gateway) (fairlead_registry_up{${HERE}})`, '{{registry}} {{gateway}}'),
  },
  {
    title: 'Age of what is known',
    about: 'Since the registry last confirmed it.',
    unit: 's',
    queries: one(`max by (registry, gateway) (fairlead_registry_age_seconds{${HERE}})`, '{{registry}} {{gateway}}'),
  },
  {
    title: 'Events, resyncs, leaders',
    about: 'A resync reads everything anew; many of them: look for what cuts the watch.',
    unit: 'ops',
    queries: [
      { expr: per('registry, kind', 'fairlead_registry_events_total', HERE), legend: '{{registry}} {{kind}}' },
      {
        expr: per('registry, reason', 'fairlead_registry_resyncs_total', HERE),
        legend: '{{registry}} resync {{reason}}',
      },
      { expr: per('registry', 'fairlead_registry_leader_changes_total', HERE), legend: '{{registry}} leader changes' },
    ],
  },
  {
    title: 'Drift',
    about:
      'Differences that a fresh read found and the watch had not told. More than none: something between loses changes.',
    unit: 'short',
    queries: one(
      `sum by (registry) (increase(fairlead_registry_drift_total{${HERE}}[$__rate_interval]))`,
      '{{registry}}',
    ),
  },
  {
    title: 'From change to view',
    about: 'Time from receiving a change to publishing the view that carries it.',
    unit: 's',
    queries: quantiles('fairlead_registry_propagation_seconds', HERE, ', registry', '{{registry}} '),
  },
  {
    title: 'Embedded registry',
    about: 'Registrations, and why they end. expired: heartbeats missed.',
    unit: 'ops',
    queries: [
      { expr: per('service', 'fairlead_registrations_total', SERVICE), legend: '{{service}} registered' },
      { expr: per('service, reason', 'fairlead_deregistrations_total', SERVICE), legend: '{{service}} {{reason}}' },
    ],
  },
];

const GATEWAY: readonly PanelPlan[] = [
  {
    title: 'Connections and their limit',
    about: 'Clients (downstream) and instances (upstream).',
    unit: 'short',
    queries: [
      { expr: `sum by (side, state) (fairlead_connections{${HERE}})`, legend: '{{side}} {{state}}' },
      { expr: `sum by (of) (fairlead_limit{${HERE},of="connections"})`, legend: 'limit' },
    ],
  },
  {
    title: 'Descriptors and their limit',
    about: 'At the limit clients are turned away.',
    unit: 'short',
    queries: [
      { expr: `process_open_fds{${HERE}}`, legend: '{{gateway}} open' },
      { expr: `process_max_fds{${HERE}}`, legend: '{{gateway}} limit' },
    ],
  },
  {
    title: 'Connections and requests refused',
    about: 'By what there was too little of.',
    unit: 'ops',
    queries: [
      { expr: per('side, reason', 'fairlead_connections_refused_total', HERE), legend: '{{side}} {{reason}}' },
      { expr: per('gateway', 'fairlead_requests_refused_total', HERE), legend: '{{gateway}} requests' },
      { expr: per('gateway', 'fairlead_instances_refused_total', HERE), legend: '{{gateway}} instances' },
    ],
  },
  {
    title: 'Malformed requests',
    about: 'Refused before any instance saw a byte of them.',
    unit: 'ops',
    queries: one(per('reason', 'fairlead_bad_requests_total', HERE), '{{reason}}'),
  },
  {
    title: 'Connections by data thread',
    about: 'How evenly the kernel spreads clients.',
    unit: 'short',
    queries: one(`sum by (gateway, thread) (fairlead_data_thread_connections{${HERE}})`, '{{gateway}} {{thread}}'),
  },
  {
    title: 'Memory by data thread',
    about: 'One that grows without end is replaced when it passes its bound.',
    unit: 'bytes',
    queries: [
      {
        expr: `sum by (gateway, thread) (fairlead_data_thread_heap_bytes{${HERE}})`,
        legend: '{{gateway}} {{thread}} heap',
      },
      {
        expr: `sum by (gateway, thread) (fairlead_data_thread_memory_bytes{${HERE}})`,
        legend: '{{gateway}} {{thread}} heap and buffers',
      },
    ],
  },
  {
    title: 'Data threads, and those that died',
    about: 'Each death cuts the requests it had; the log has the reason.',
    unit: 'short',
    queries: [
      { expr: `sum by (gateway) (fairlead_data_threads{${HERE}})`, legend: '{{gateway}} running' },
      { expr: `sum by (gateway) (fairlead_data_threads_wanted{${HERE}})`, legend: '{{gateway}} wanted' },
      {
        expr: `sum by (gateway) (increase(fairlead_data_thread_deaths_total{${HERE}}[$__rate_interval]))`,
        legend: '{{gateway}} died',
      },
    ],
  },
  {
    title: 'Event loop lag of the control thread',
    about: 'High: decisions and probes are late. Requests are served by other threads.',
    unit: 's',
    queries: quantiles('fairlead_event_loop_lag_seconds', HERE),
  },
  {
    title: 'CPU and memory of the process',
    about: 'All threads together.',
    unit: 'short',
    queries: [
      { expr: `rate(process_cpu_seconds_total{${HERE}}[$__rate_interval])`, legend: '{{gateway}} cores' },
      { expr: `process_resident_memory_bytes{${HERE}} / 2^30`, legend: '{{gateway}} GiB' },
    ],
  },
  {
    title: 'Reloads and dropped log lines',
    about: 'failure: the configuration before it stays in use. Lines are dropped where their destination is too slow.',
    unit: 'short',
    queries: [
      {
        expr: `sum by (gateway, result) (increase(fairlead_config_reloads_total{${HERE}}[$__rate_interval]))`,
        legend: '{{gateway}} reload {{result}}',
      },
      { expr: per('log', 'fairlead_log_lines_dropped_total', HERE), legend: '{{log}} lines/s' },
    ],
  },
  {
    title: 'Series left out',
    about: 'Services and instances beyond the limits of labels: they are counted together.',
    unit: 'short',
    queries: [
      { expr: `max by (gateway) (fairlead_service_series_omitted{${HERE}})`, legend: '{{gateway}} services' },
      { expr: `max by (gateway) (fairlead_instance_series_omitted{${HERE}})`, legend: '{{gateway}} instances' },
    ],
  },
  {
    title: 'What runs',
    about: 'Versions; more than one of them: a rollout is under way.',
    unit: 'short',
    queries: one(`count by (version, node) (fairlead_build_info{${HERE}})`, '{{version}} on {{node}}'),
  },
];

export const ROWS: readonly (readonly [title: string, plans: readonly PanelPlan[]])[] = [
  ['Services', SERVICES],
  ['Instances', INSTANCES],
  ['Probes', PROBES],
  ['Registries', REGISTRIES],
  ['The gateway itself', GATEWAY],
];
