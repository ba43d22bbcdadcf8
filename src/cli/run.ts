import { availableParallelism } from 'node:os';
import type { Config } from '../config/config.ts';
import type { Predecessor } from '../gateway/handover.ts';
import type { NamedSocket } from '../gateway/sockets.ts';
import { removePidFile, writePidFile } from './pid-file.ts';
import { CONFIG_FLAG, configFile, readConfig } from './run-options.ts';
import { type CliContext, parseFlags, type Verb } from './verb.ts';

const FLAGS = { ...CONFIG_FLAG, 'pid-file': { type: 'string' } } as const;

/** `fairlead run`: the gateway in the foreground until it is told to stop. */
export const run: Verb = {
  name: 'run',
  usage: '[-c FILE] [--pid-file FILE]',
  summary: 'run the gateway',
  async run(ctx, args) {
    const { values } = parseFlags(args, FLAGS, { positionals: 0 });
    const file = configFile(ctx, values.config);
    // Registered first: a signal that comes during the start must not be lost, and HUP would end the process.
    const stopping = new AbortController();
    const hurry = new AbortController();
    const stop = (): void => {
      if (stopping.signal.aborted) hurry.abort();
      stopping.abort();
    };
    ctx.onSignal('SIGTERM', stop);
    ctx.onSignal('SIGINT', stop);
    const early = new AbortController();
    const noLongerEarly = ctx.onSignal('SIGHUP', () => {
      early.abort();
    });
    const [{ Gateway }, { loadConfigFile }, { lookAt }] = await Promise.all([
      import('../gateway/gateway.ts'),
      import('../config/load.ts'),
      import('../gateway/config-watch.ts'),
    ]);
    const seen = await lookAt(file.path);
    const config = await readConfig(ctx, file);
    if (!config) return 1;
    const pidFile = values['pid-file'];
    const { pid } = ctx.process;
    const starting = inheritance(ctx, config)
      .then((inherited) =>
        Gateway.start({
          ...inherited,
          config,
          spawnSuccessor: ctx.process.spawnSuccessor,
          onReady: async () => {
            if (pidFile !== undefined) await writePidFile(pidFile, pid);
          },
          load: () => loadConfigFile(file.path, { file: file.file, env: ctx.env }),
          file: file.file,
          path: file.path,
          seen,
          cores: availableParallelism(),
          clock: ctx.clock,
          random: ctx.random,
          version: ctx.version,
          nodeVersion: ctx.process.nodeVersion,
          owner: ctx.process,
          cluster: { host: ctx.env['KUBERNETES_SERVICE_HOST'], port: ctx.env['KUBERNETES_SERVICE_PORT'] },
          script: { path: ctx.env['PATH'] ?? '/usr/bin:/bin', kill: ctx.process.kill },
        }),
      )
      .catch((error: unknown) => {
        ctx.stderr.write(`fairlead: ${error instanceof Error ? error.message : String(error)}\n`);
        return undefined;
      });
    // A disk or a network that hangs must not make a start that nobody can end.
    const gateway = await Promise.race([starting, aborted(hurry.signal).then(() => 'given up' as const)]);
    if (gateway === 'given up') ctx.stderr.write('fairlead: told twice to stop, before the start was over\n');
    if (gateway === undefined || gateway === 'given up') return 1;
    noLongerEarly();
    ctx.onSignal('SIGHUP', () => {
      gateway.hangUp();
    });
    if (early.signal.aborted) gateway.hangUp();
    ctx.onSignal('SIGUSR1', () => {
      gateway.reopenLogs();
    });
    const stopped = aborted(stopping.signal).then(() => false);
    const replaced = await Promise.race([stopped, gateway.replaced.then(() => true)]);
    await (replaced ? gateway.retire(hurry.signal) : gateway.stop(hurry.signal));
    if (pidFile !== undefined) await removePidFile(pidFile, pid);
    return 0;
  },
};

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** What a process before this one left: a gateway whose place it takes, or systemd. */
async function inheritance(
  { process, env, clock }: CliContext,
  config: Config,
): Promise<{ sockets: readonly NamedSocket[]; predecessor: Predecessor | undefined }> {
  const [{ Predecessor: Before }, { activatedSockets }] = await Promise.all([
    import('../gateway/handover.ts'),
    import('../gateway/activation.ts'),
  ]);
  if (!process.predecessor) return { sockets: activatedSockets(env, process.pid, config), predecessor: undefined };
  const predecessor = await Before.meet(process.predecessor, clock);
  return { sockets: predecessor.sockets, predecessor };
}
