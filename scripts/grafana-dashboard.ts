import { HERE, ROWS, type PanelPlan } from './grafana-panels.ts';

const SOURCE = { type: 'prometheus', uid: '${datasource}' };
const PANEL = { width: 8, height: 8, perRow: 3 };

function panelOf(plan: PanelPlan, id: number, x: number, y: number): object {
  const stacking = { mode: plan.stacked ? 'normal' : 'none', group: 'A' };
  return {
    id,
    type: 'timeseries',
    title: plan.title,
    description: plan.about,
    datasource: SOURCE,
    gridPos: { x, y, w: PANEL.width, h: PANEL.height },
    fieldConfig: {
      defaults: {
        unit: plan.unit,
        min: 0,
        custom: { fillOpacity: plan.stacked ? 30 : 5, stacking, showPoints: 'never' },
      },
      overrides: [],
    },
    options: { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: plan.queries.map(({ expr, legend }, at) => ({
      refId: String.fromCharCode(65 + at),
      datasource: SOURCE,
      expr,
      legendFormat: legend,
    })),
  };
}

function panels(): readonly object[] {
  const all: object[] = [];
  let id = 1;
  let y = 0;
  for (const [title, plans] of ROWS) {
    all.push({ id: id++, type: 'row', title, collapsed: false, panels: [], gridPos: { x: 0, y: y++, w: 24, h: 1 } });
    for (const [at, plan] of plans.entries()) {
      const row = Math.floor(at / PANEL.perRow);
      all.push(panelOf(plan, id++, (at % PANEL.perRow) * PANEL.width, y + row * PANEL.height));
    }
    y += Math.ceil(plans.length / PANEL.perRow) * PANEL.height;
  }
  return all;
}

/** `.*` also matches what has no such label: where Prometheus gives no `gateway`, all of them are one. */
function variable(name: string, label: string, expr: string): object {
  return {
    name,
    label,
    type: 'query',
    datasource: SOURCE,
    query: { query: expr, refId: name },
    definition: expr,
    includeAll: true,
    allValue: '.*',
    multi: true,
    refresh: 2,
    sort: 1,
    current: { selected: true, text: ['All'], value: ['$__all'] },
  };
}

/** What Grafana imports. Made by `npm run grafana`; what is edited in Grafana goes back into grafana-panels.ts. */
export function grafanaDashboard(): object {
  return {
    uid: 'fairlead',
    title: 'Fairlead',
    description: 'Services, instances, registries and the gateway itself. Scrape as in config/prometheus/scrape.yaml.',
    tags: ['fairlead'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    annotations: { list: [] },
    links: [],
    templating: {
      list: [
        { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus', current: {} },
        variable('job', 'Job', 'label_values(fairlead_build_info, job)'),
        variable('gateway', 'Gateway', 'label_values(fairlead_build_info{job=~"$job"}, gateway)'),
        variable('service', 'Service', `label_values(fairlead_instances{${HERE}}, service)`),
        variable('instance', 'Instance', `label_values(fairlead_instance_up{${HERE},service=~"$service"}, instance)`),
      ],
    },
    panels: panels(),
  };
}
