/** One family of the exposition. */
export interface Series {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
}

const series = (type: Series['type'], name: string, labels: readonly string[], help: string): Series => ({
  name: `fairlead_${name}`,
  type,
  help,
  labels,
});

/**
 * Every series of the gateway, declared once. The table in docs/observability.md repeats it, and a test keeps the
 * two in step.
 */
export const SERIES = {
  requests: series(
    'counter',
    'requests_total',
    ['service', 'method', 'code'],
    'Requests by the status the client got; (none) is no service, (other) is those beyond the limit of labels.',
  ),
  requestDuration: series(
    'histogram',
    'request_duration_seconds',
    ['service'],
    'Time from the first byte of the request head to the last byte of the response.',
  ),
  requestOverhead: series(
    'histogram',
    'request_overhead_seconds',
    ['service'],
    'The part of a request that neither an instance nor the client caused: what the gateway itself added.',
  ),
  attempts: series('counter', 'attempts_total', ['service', 'outcome'], 'Attempts on instances by how they ended.'),
  retries: series(
    'counter',
    'retries_total',
    ['service', 'reason'],
    'Attempts after the first, by why they were made.',
  ),
  retryBudgetExhausted: series(
    'counter',
    'retry_budget_exhausted_total',
    ['service'],
    'Retries that were wanted and safe, and that the retry budget forbade.',
  ),
  queueLength: series(
    'gauge',
    'queue_length',
    ['service'],
    'Requests that wait because every instance has as many as it may.',
  ),
  queueRejections: series(
    'counter',
    'queue_rejections_total',
    ['service', 'reason'],
    'Requests answered 503 because every instance had as many as it may, and the queue was full or the wait too long.',
  ),
  instances: series(
    'gauge',
    'instances',
    ['service', 'state'],
    'Instances by state: available, degraded, or the first reason against them.',
  ),
  instanceUp: series(
    'gauge',
    'instance_up',
    ['service', 'instance'],
    '1 while nothing is against the instance: registry, probes, breaker, ejection and drain all let it take traffic.',
  ),
  instanceInflight: series(
    'gauge',
    'instance_inflight',
    ['service', 'instance'],
    'Attempts begun on the instance and not ended yet.',
  ),
  instanceRequests: series(
    'counter',
    'instance_requests_total',
    ['service', 'instance'],
    'Attempts begun on the instance.',
  ),
  instancesOmitted: series(
    'gauge',
    'instance_series_omitted',
    [],
    'Instances without series of their own in this scrape, because their number is limited.',
  ),
  servicesOmitted: series(
    'gauge',
    'service_series_omitted',
    [],
    'Services counted together as (other), because the number of service labels is limited.',
  ),
  breakerState: series(
    'gauge',
    'breaker_state',
    ['service', 'instance'],
    'Breaker of the instance: 0 closed, 1 open, 2 half-open.',
  ),
  breakerTransitions: series(
    'counter',
    'breaker_transitions_total',
    ['service', 'to'],
    'Changes of state of the breakers of a service, by the state they went to.',
  ),
  outlierEjections: series(
    'counter',
    'outlier_ejections_total',
    ['service', 'by', 'mode'],
    'Instances found to do clearly worse than their peers: ejected, only observed, or kept in by the ejection cap.',
  ),
  panic: series(
    'gauge',
    'panic',
    ['service'],
    '1 while too few instances of the service are available and probe verdicts are ignored.',
  ),
  fallback: series(
    'gauge',
    'fallback',
    ['service'],
    '1 while no registered instance of the service is available and its fallback instances have the traffic.',
  ),
  probes: series('counter', 'probes_total', ['service', 'type', 'result'], 'Probes that have ended, by result.'),
  probeDuration: series('histogram', 'probe_duration_seconds', ['type'], 'Time that probes took.'),
  probeLag: series('histogram', 'probe_lag_seconds', [], 'How late probes began, measured from when they were due.'),
  registryUp: series(
    'gauge',
    'registry_up',
    ['registry'],
    '1 while the registry is connected and its watch is in step.',
  ),
  registryAge: series(
    'gauge',
    'registry_age_seconds',
    ['registry'],
    'Time since the registry last confirmed what is known from it.',
  ),
  registryEvents: series(
    'counter',
    'registry_events_total',
    ['registry', 'kind'],
    'Events received from the registry.',
  ),
  registryPropagation: series(
    'histogram',
    'registry_propagation_seconds',
    ['registry'],
    'Time from receiving a change to publishing the view that carries it.',
  ),
  registryResyncs: series(
    'counter',
    'registry_resyncs_total',
    ['registry', 'reason'],
    'Times everything was read anew from the registry.',
  ),
  registryDrift: series(
    'counter',
    'registry_drift_total',
    ['registry'],
    'Differences a fresh read found that the watch had not told.',
  ),
  registryLeaderChanges: series(
    'counter',
    'registry_leader_changes_total',
    ['registry'],
    'Changes of the leader the registry named.',
  ),
  registrations: series(
    'counter',
    'registrations_total',
    ['service'],
    'Instances that came into the pool, whichever registry has them.',
  ),
  deregistrations: series(
    'counter',
    'deregistrations_total',
    ['service', 'reason'],
    'Instances that left the pool, by why; only the embedded registry tells expired and replaced ones apart.',
  ),
  badRequests: series(
    'counter',
    'bad_requests_total',
    ['reason'],
    'Requests refused as malformed before any instance saw a byte of them.',
  ),
  connections: series(
    'gauge',
    'connections',
    ['side', 'state'],
    'Open connections: downstream (clients) and upstream (instances), active with a request or idle.',
  ),
  connectionsRefused: series(
    'counter',
    'connections_refused_total',
    ['side', 'reason'],
    'Connections not taken (downstream) or not made (upstream), by what there was too little of.',
  ),
  instancesRefused: series(
    'counter',
    'instances_refused_total',
    [],
    'Instances left out because limit{of="instances"} or limit{of="services"} was reached.',
  ),
  requestsRefused: series(
    'counter',
    'requests_refused_total',
    [],
    'Requests answered 503 UO because limit{of="requests"} was reached.',
  ),
  limit: series('gauge', 'limit', ['of'], 'The most there may be at a time, by what; none where nothing bounds it.'),
  dataThreads: series('gauge', 'data_threads', [], 'Data-plane threads that are there now.'),
  dataThreadsWanted: series(
    'gauge',
    'data_threads_wanted',
    [],
    'Data-plane threads that `workers` asks for; for long more than data_threads where the platform permits only one.',
  ),
  dataThreadConnections: series(
    'gauge',
    'data_thread_connections',
    ['thread'],
    'Client connections of a data-plane thread: how evenly the kernel spreads them.',
  ),
  dataThreadHeap: series('gauge', 'data_thread_heap_bytes', ['thread'], 'Heap of a data-plane thread in use.'),
  dataThreadMemory: series(
    'gauge',
    'data_thread_memory_bytes',
    ['thread'],
    'Heap and buffers of a data-plane thread; one that passes limit{of="thread_memory_bytes"} is replaced.',
  ),
  dataThreadDeaths: series(
    'counter',
    'data_thread_deaths_total',
    [],
    'Data-plane threads that ended before they should, each replaced by another.',
  ),
  configReloads: series('counter', 'config_reloads_total', ['result'], 'Attempts to reload the configuration.'),
  logLinesDropped: series(
    'counter',
    'log_lines_dropped_total',
    ['log'],
    'Log lines given up because their destination was too slow or broken. Requests never wait for a log.',
  ),
  eventLoopLag: series(
    'histogram',
    'event_loop_lag_seconds',
    [],
    'How late a timer of the control thread fired, sampled ten times a second.',
  ),
  buildInfo: series('gauge', 'build_info', ['version', 'node'], 'Always 1; the labels say what runs.'),
} as const satisfies Record<string, Series>;
