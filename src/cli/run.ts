import { availableParallelism } from 'node:os';
import { CONFIG_FLAG, configFile, readConfig } from './run-options.ts';
import { parseFlags, type Verb } from './verb.ts';

/** `fairlead run`: the gateway in the foreground until it is told to stop. */
export const run: Verb = {
  name: 'run',
  usage: '[-c FILE]',
  summary: 'run the gateway',
  async run(ctx, args) {
    const { values } = parseFlags(args, CONFIG_FLAG, { positionals: 0 });
    const file = configFile(ctx, values.config);
    const [{ Gateway }, { loadConfigFile }] = await Promise.all([
      import('../gateway/gateway.ts'),
      import('../config/load.ts'),
    ]);
    const config = await readConfig(ctx, file);
    if (!config) return 1;
    // Registered first: a signal that comes during the start must not be lost.
    const stopping = new AbortController();
    const hurry = new AbortController();
    const stop = (): void => {
      if (stopping.signal.aborted) hurry.abort();
      stopping.abort();
    };
    ctx.onSignal('SIGTERM', stop);
    ctx.onSignal('SIGINT', stop);
    const gateway = await Gateway.start({
      config,
      load: () => loadConfigFile(file.path, { file: file.file, env: ctx.env }),
      file: file.file,
      path: file.path,
      cores: availableParallelism(),
      clock: ctx.clock,
      random: ctx.random,
      version: ctx.version,
      nodeVersion: ctx.process.nodeVersion,
      owner: ctx.process,
      cluster: { host: ctx.env['KUBERNETES_SERVICE_HOST'], port: ctx.env['KUBERNETES_SERVICE_PORT'] },
      script: { path: ctx.env['PATH'] ?? '/usr/bin:/bin', kill: ctx.process.kill },
    }).catch((error: unknown) => {
      ctx.stderr.write(`fairlead: ${error instanceof Error ? error.message : String(error)}\n`);
      return undefined;
    });
    if (!gateway) return 1;
    ctx.onSignal('SIGHUP', () => void gateway.reload());
    ctx.onSignal('SIGUSR1', () => {
      gateway.reopenLogs();
    });
    await new Promise<void>((resolve) => {
      if (stopping.signal.aborted) resolve();
      else stopping.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await gateway.stop(hurry.signal);
    return 0;
  },
};
