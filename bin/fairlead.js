#!/usr/bin/env node
// In a checkout the sources run as they are (Node strips the types); the published package carries only dist/.
import { existsSync } from 'node:fs';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `fairlead: needs Node 22.18 or later, and this is ${process.versions.node}; in a checkout, \`npm start\` and ` +
      '`npx fairlead` run on the one that `npm ci` has installed',
  );
  process.exit(1);
}

// Unbounded, the space for young objects grows to 134 MB while a gateway runs, and goes up and down with the traffic;
// beyond 16 MB collections are hardly cheaper. V8 takes the bound at the start of a process only, so this one starts
// itself anew in its own place, with the same process id and environment. Not where somebody set a bound, and not where
// something would be lost by it: Node has marked descriptors that it inherited (a socket from systemd, a channel to its
// parent, a file from the shell) to be closed.
const BOUND = '--max-semi-space-size=16';
const [, ...script] = process.argv;
const bounded = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((option) => option.includes('semi-space'));
const inherits =
  process.connected || process.env.LISTEN_FDS !== undefined || script.some((arg) => arg.includes('/fd/'));
if (script[1] === 'run' && !bounded && !inherits && process.execve !== undefined)
  process.execve(process.execPath, [process.execPath, BOUND, ...process.execArgv, ...script], process.env);

const source = new URL('../src/main.ts', import.meta.url);
await import(existsSync(source) ? source.href : new URL('../dist/main.js', import.meta.url).href);
