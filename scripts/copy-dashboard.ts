import { cpSync } from 'node:fs';

// The dashboard needs no compiler: what the browser gets is what lies in the sources.
const from = new URL('../src/admin/dashboard/', import.meta.url);
const to = new URL('../dist/admin/dashboard/', import.meta.url);

cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('tsconfig.json') });
