import { z } from 'zod';
import type { CommonRegistryConfig, ServiceSelection, TlsConfig } from './config.ts';
import { count, duration, flag, name, nameText, optional, optionalText, share, wants } from './scalars.ts';
import { group } from './strict.ts';

const guard = group({
  enabled: flag(
    'Whether sudden losses are held back. false believes a registry at once, and with it every empty answer of one that is starting.',
    true,
  ),
  maxLoss: share(
    'Losing more than this share of the instances of a service at once is held back. 0 holds back every loss; 1 only that of everything.',
    {
      fallback: 0.5,
      min: 0,
      max: 1,
    },
  ),
  confirmAfter: duration(
    'A second read after this long has to confirm the loss. Short may read the same mistake twice; until then what passes our checks keeps its traffic.',
    {
      fallback: '1s',
      min: '10ms',
      max: '10m',
    },
  ),
  deadline: duration(
    'After this long the loss is believed, as long as the registry can be reached at all. Short gives it little time to recover; long keeps traffic on instances that were taken down on purpose and still pass checks.',
    {
      fallback: '30s',
      min: '100ms',
      max: '24h',
    },
  ),
  window: duration(
    'Losses within this time count together. Short does not see a slow decay; long takes a rolling restart for one loss.',
    {
      fallback: '5s',
      min: '100ms',
      max: '10m',
    },
  ),
  minBurst: count(
    'Fewer instances than this that are deregistered one by one within `window` are believed at once, even the last ones of a service. 1 holds back every such loss; many let a small service vanish at once.',
    {
      fallback: 5,
      min: 1,
      max: 100_000,
    },
  ),
});

const guardKey = guard
  .prefault({})
  .meta({ id: 'guard', description: 'What happens when many instances disappear from the registry at once.' });

/** Keys that every registry has. */
export const commonKeys = (type: string) => ({
  name: name('What the registry is called in status, logs and metrics; unique. Without it: its type.').prefault(type),
  guard: guardKey,
  relistInterval: duration(
    'Everything is read anew and compared this often, whatever the watch said. Short loads the registry; long lets a missed change stay missed.',
    {
      fallback: '5m',
      min: '1s',
      max: '24h',
    },
  ),
});

type CommonInput = { readonly [K in keyof ReturnType<typeof commonKeys>]: z.output<ReturnType<typeof commonKeys>[K]> };

export function toCommon(given: CommonInput): CommonRegistryConfig {
  const { enabled, maxLoss, confirmAfter, deadline, window: span, minBurst } = given.guard;
  return {
    name: given.name,
    guard: { enabled, maxLoss, confirmAfterMs: confirmAfter, deadlineMs: deadline, windowMs: span, minBurst },
    relistIntervalMs: given.relistInterval,
  };
}

/** Keys of registries that hold services under names of their own. */
export const selectionKeys = {
  services: optional(
    z.union([z.array(nameText()), z.record(nameText(), nameText())], {
      error: wants('a list of names, or a map from our names to the registry’s'),
    }),
    'Which services are taken over: a list of names, or a map from our name to the registry’s. Without it: all of them. An empty list takes none.',
  ),
  servicePrefix: z
    .string({ error: wants('text') })
    .regex(/^[A-Za-z0-9._-]{0,64}$/, 'wants up to 64 characters of A-Z a-z 0-9 . _ -')
    .prefault('')
    .meta({
      description:
        'Put before the name of every service of this registry, except those a map in `services` renames. Empty merges services of the same name from several registries into one.',
    }),
};

export function toSelection(given: {
  readonly services: string[] | Record<string, string> | undefined;
  readonly servicePrefix: string;
}): ServiceSelection {
  const { services, servicePrefix: prefix } = given;
  if (services === undefined) return { kind: 'all', prefix };
  const pairs = Array.isArray(services)
    ? services.map((name) => [prefix + name, name] as const)
    : Object.entries(services);
  return { kind: 'named', theirs: new Map(pairs) };
}

const FILE = 'a file name';

const tls = group({
  ca: optionalText('File with the authorities (PEM) to trust. Without it: those of the system.', FILE),
  cert: optionalText('File with our own certificate (PEM), where the registry asks for one.', FILE),
  key: optionalText('File with its key (PEM). It should be readable for the gateway alone.', FILE),
  verify: flag(
    'Whether the certificate of the registry must be valid. false lets whoever sits in between name the instances that get your traffic.',
    true,
  ),
  serverName: optionalText('Name expected in the certificate, where it is not the host of the address.', 'a host name'),
}).superRefine((given, ctx) => {
  if ((given.cert === undefined) !== (given.key === undefined)) {
    const missing = given.cert === undefined ? 'cert' : 'key';
    ctx.addIssue({ code: 'custom', path: [missing], message: 'is missing: `cert` and `key` go together' });
  }
});

export const tlsKey = tls
  .prefault({})
  .meta({ id: 'tls', description: 'TLS towards the registry; used for https addresses.' });

export function toTls(given: z.output<typeof tls>): TlsConfig {
  const { ca: caFile, cert: certFile, key: keyFile, verify, serverName } = given;
  return { caFile, certFile, keyFile, verify, serverName };
}
