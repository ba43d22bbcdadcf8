import { anyNumber, choice, count, decimal, duration, factor, flag, share, size, wholeNumber } from './scalars.ts';
import { group } from './strict.ts';

export const breaker = group({
  enabled: flag(
    'Whether every instance has a breaker. false leaves a failing instance in rotation until its checks fail.',
    true,
  ),
  consecutiveFailures: count(
    'Failures in a row that open it. 1 opens at any hiccup; many let a dead instance fail as many requests.',
    {
      fallback: 5,
      min: 1,
      max: 10_000,
    },
  ),
  failureRate: share(
    'Share of failures in `window` that opens it. Low punishes an instance for what clients provoke; 1 opens only where nothing works.',
    {
      fallback: 0.5,
      min: 0.01,
      max: 1,
    },
  ),
  minimumAttempts: count(
    'Fewer attempts than this in `window` say nothing about the rate. 1 lets a single failure decide; many make the rate blind on quiet services.',
    {
      fallback: 20,
      min: 1,
      max: 1_000_000,
    },
  ),
  window: duration(
    'Span over which the rate is taken. Short forgets soon and sees few attempts; long remembers what is long mended.',
    {
      fallback: '10s',
      min: '1s',
      max: '10m',
    },
  ),
  open: duration(
    'How long it stays open at first; then one trial decides. Short tries a dead instance often; long leaves a mended one idle.',
    {
      fallback: '5s',
      min: '10ms',
      max: '1h',
    },
  ),
  maxOpen: duration(
    'The open time doubles with every failed trial, up to this. As much as `open`, or less, keeps it constant.',
    {
      fallback: '60s',
      min: '10ms',
      max: '24h',
    },
  ),
  failureStatuses: anyNumber(wholeNumber({ min: 400, max: 599 }))
    .prefault([502, 503, 504])
    .meta({
      description:
        'Statuses that count as a failure of the instance. With 500 in it, one bad request of a client can open breakers; an empty list counts broken connections and timeouts alone.',
    }),
});

export const retry = group({
  attempts: count(
    'Further attempts after the first, each on another instance. 0 hands every failure to the client; many multiply the load of an outage, as far as the budget lets them.',
    {
      fallback: 2,
      min: 0,
      max: 10,
    },
  ),
  budget: share(
    'Retries as a share of requests. 0 leaves `budgetMinPerSecond` alone; 1 lets an outage double the load.',
    { fallback: 0.2, min: 0, max: 1 },
  ),
  budgetMinPerSecond: count(
    'Retries a second that are always allowed, for services with few requests. 0 leaves those without retries.',
    {
      fallback: 3,
      min: 0,
      max: 100_000,
    },
  ),
  maxBody: size(
    'Request bodies up to this size are kept for a repeat. 0B never repeats a request that has a body; large costs that memory per request in flight.',
    {
      fallback: '64KiB',
      min: '0B',
      max: '16MiB',
    },
  ),
});

export const availability = group({
  mode: choice(
    'Whose word on an instance holds. `strict` wants registry and checks to agree; `trust-registry` sends to whatever is registered as up, however dead its checks find it; `trust-probes` sends to what passes its checks, be it that its registry says down. Breakers, ejection and drain hold in any case.',
    ['strict', 'trust-registry', 'trust-probes'],
    'strict',
  ),
  panicThreshold: share(
    'Below this share of available instances the verdicts of checks are ignored: that many dead at once more likely means a broken check. 0 never panics; 1 panics at the first failure.',
    {
      fallback: 0.5,
      min: 0,
      max: 1,
    },
  ),
  minHealthy: count(
    'Below this number of available instances as well, where checks are what keeps others out. 0 leaves it to the share; as many as there are panics at the first failure.',
    { fallback: 0, min: 0, max: 100_000 },
  ),
  panicMode: choice(
    'What panic does. `route` sends to every instance all the same, some of which are dead; `reject` answers 503 and protects what is left.',
    ['route', 'reject'],
    'route',
  ),
  maxEjectedShare: share(
    'At most this share of instances is taken out by breakers and hang detection, though always at least one. 0 is that one; 1 may take out all of them.',
    {
      fallback: 0.5,
      min: 0,
      max: 1,
    },
  ),
  degradedWeight: share(
    'What the weight of an instance is multiplied by while its registry or a check calls it degraded. 0.01 leaves it next to nothing; 1 takes no notice.',
    {
      fallback: 0.5,
      min: 0.01,
      max: 1,
    },
  ),
});

export const slowStart = group({
  duration: duration(
    'From when an instance becomes available, be it new or recovered, to when it has all of its weight. 0s gives it all at once; long leaves the work to the others while it is needed.',
    { fallback: '0s', min: '0s', max: '1h' },
  ),
  curve: choice(
    'How the weight grows. `linear` adds the same in equal times; `exponential` multiplies by the same, and so stays low for longer.',
    ['linear', 'exponential'],
    'linear',
  ),
  minShare: share(
    'Share of its weight that it begins with. 0.01 sends it hardly a request to warm up by; 1 is no slow start.',
    { fallback: 0.1, min: 0.01, max: 1 },
  ),
});

export const hang = group({
  enabled: flag(
    'Whether an instance that has stopped answering, while its peers answer, is taken out before its requests time out.',
    true,
  ),
  minWait: duration(
    'No instance is suspected before its oldest request has waited this long. Short suspects what is merely slow; long lets more requests run into a hung one.',
    {
      fallback: '1s',
      min: '10ms',
      max: '10m',
    },
  ),
  p99Factor: count(
    'Nor before that wait is this many times the recent 99th percentile of the instance. 1 suspects every slow request; many find only services that are fast as a rule.',
    {
      fallback: 10,
      min: 1,
      max: 1000,
    },
  ),
  crowd: count(
    'So many requests that wait on one instance, each for longer than its peers take, take it out sooner: as soon as `crowdMinWait` allows. 0 leaves it to the oldest request alone; 1 lets a single slow request decide.',
    {
      fallback: 5,
      min: 0,
      max: 10_000,
    },
  ),
  crowdFactor: decimal(
    'A request of that crowd has waited this many times the recent 99th percentile of its service. 1 suspects what is rare; much suspects late.',
    {
      fallback: 1.5,
      min: 1,
      max: 1000,
    },
  ),
  crowdMinWait: duration(
    'And for this long at least. Short takes a pause of the garbage collector for a hang; long lets more requests wait.',
    {
      fallback: '250ms',
      min: '10ms',
      max: '10m',
    },
  ),
});

const OUTLIER_MODES = ['eject', 'observe', 'off'] as const;

export const outliers = group({
  successRate: choice(
    'What becomes of an instance that fails clearly more often than its peers. `eject` takes it out for a while; `observe` counts and tells what would be ejected; `off` does not look.',
    OUTLIER_MODES,
    'observe',
  ),
  latency: choice(
    'The same for one that answers clearly more slowly. Where instances do different work, slow is not sick: observe first.',
    OUTLIER_MODES,
    'observe',
  ),
  interval: duration(
    'Span over which instances are compared. Short acts sooner, and on fewer requests; long leaves the sick in rotation.',
    { fallback: '10s', min: '1s', max: '10m' },
  ),
  minInstances: count(
    'Fewer instances than this with enough requests are not compared. Of two nobody can tell which is the odd one; many leave small services without it.',
    { fallback: 5, min: 3, max: 100_000 },
  ),
  minRequests: count(
    'Requests in the interval below which an instance is not judged. Few let chance decide; many make it blind on quiet services.',
    { fallback: 100, min: 1, max: 1_000_000 },
  ),
  stdevFactor: factor(
    'How many standard deviations below the mean a success rate must be. Low ejects what merely comes last; of five instances one alone cannot be more than 2 below.',
    { fallback: 1.9, min: 0.5, max: 10 },
  ),
  minRateGap: share(
    'And how far below it at least. 0 ejects for one failure where all others have none; 1 never ejects.',
    { fallback: 0.05, min: 0, max: 1 },
  ),
  latencyFactor: factor(
    'How many times the median of the service an average latency must be. 1.5 ejects for ordinary differences between machines; large finds only what is nearly dead.',
    { fallback: 3, min: 1.5, max: 1000 },
  ),
  minLatencyGap: duration(
    'And how far above it at least. 0ms ejects for three times of next to nothing; long passes over what is slow in fast services.',
    { fallback: '100ms', min: '0ms', max: '10m' },
  ),
  ejection: duration(
    'How long an outlier is out the first time; the second time twice as long, and so on. Short tries the sick often; long keeps the recovered out.',
    { fallback: '30s', min: '1s', max: '1h' },
  ),
  maxEjection: duration('Never longer than this. As much as `ejection`, or less, keeps it constant.', {
    fallback: '5m',
    min: '1s',
    max: '24h',
  }),
});
