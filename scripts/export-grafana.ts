import { writeFileSync } from 'node:fs';
import { grafanaDashboard } from './grafana-dashboard.ts';

const file = new URL('../config/grafana/fairlead.json', import.meta.url);
writeFileSync(file, `${JSON.stringify(grafanaDashboard(), null, 2)}\n`);
