import { EventEmitter } from 'node:events';
import CircuitBreaker from 'opossum';

/** One call through a circuit. Ends by one of `succeed` and `fail`, or by neither: then it counts as nothing. */
export class Call {
  onSuccess: () => void = unsubscribed;
  onFailure: (error: Error) => void = unsubscribed;

  /** The circuit counts it, and closes if it was half-open, before this returns. */
  succeed(): void {
    this.onSuccess();
  }

  /** The circuit counts it, and opens if it must, before this returns. */
  fail(): void {
    this.onFailure(FAILED);
  }
}

function unsubscribed(): never {
  throw new Error(
    'opossum has not subscribed to the call: does this version still use `then` of what the action returns?',
  );
}

/** opossum reads nothing of it. */
const FAILED = new Error('The attempt failed');
const HANDLED = Promise.resolve();

/** The call that is beginning: `fire` runs the action and subscribes to its result before it returns. */
let beginning: Call | undefined;

/**
 * What every action returns. opossum asks of it `then(f).catch(g)` and no more, so that it need not be a promise: both
 * callbacks go to the call, which invokes them at its end. No microtask lies between the end of an attempt and the
 * state of its breaker; and since it is not the permit that has a `then`, nobody can await a permit by mistake.
 */
const subscription = {
  then(onSuccess: () => void) {
    if (beginning) beginning.onSuccess = onSuccess;
    return subscription;
  },
  catch(onFailure: (error: Error) => void) {
    if (beginning) beginning.onFailure = onFailure;
  },
};

function action(): Promise<void> {
  return subscription as unknown as Promise<void>;
}

/** Keeps opossum from starting a timer per breaker; the window turns by itself. */
class NeverRotates extends EventEmitter {
  override on(): this {
    return this;
  }

  override removeListener(): this {
    return this;
  }

  override listenerCount(): number {
    return 1;
  }
}

const STATUS_OPTIONS: CircuitBreaker.StatusOptions = {
  rotateBucketController: new NeverRotates(),
  enableSnapshots: false,
  rollingPercentilesEnabled: false,
  rollingCountBuckets: 1,
};

const Status = CircuitBreaker.newStatus(STATUS_OPTIONS).constructor as new (
  options: CircuitBreaker.StatusOptions,
) => EventEmitter;

/** opossum would count here. The threads count, in `BreakerColumns`; the owner of the circuit reads that. */
class NoStatus extends Status {
  constructor() {
    super(STATUS_OPTIONS);
  }

  /** Called by opossum on its events. */
  increment(): void {
    // Counted already, where it happened.
  }

  /** opossum divides the one by the other after every failure: always more than its threshold. */
  get stats(): { readonly failures: number; readonly fires: number } {
    return FAILED_ONCE;
  }
}

const FAILED_ONCE = { failures: 1, fires: 1 };
const NO_STATUS = new NoStatus();

/** Events which opossum counts and nobody reads. Their listeners are most of the memory of a breaker. */
const UNREAD = [
  'fire',
  'fallback',
  'timeout',
  'reject',
  'semaphoreLocked',
  'cacheHit',
  'cacheMiss',
  'coalesceCacheHit',
  'coalesceCacheMiss',
];

/** There is no `capacity`: opossum's semaphore would cost every call a promise. */
const UNLIMITED = { test: () => true, release: () => undefined };

/** The timer by which opossum would half-open. The owner replaces the circuit long before. */
const NEVER_MS = 2_147_483_647;

/**
 * An opossum circuit that opens when its owner says so, and never half-opens by itself: opossum does that by its own
 * timer only, so that the owner, who has another clock, replaces an open circuit by a new one that begins half-open.
 * Calls of the replaced one thereby lose their say.
 */
export class Circuit extends CircuitBreaker<[], void> {
  readonly #mayOpen: () => boolean;

  /** `mayOpen` is asked after every failure while closed; a failed trial opens without a question. */
  constructor(start: 'closed' | 'half-open', mayOpen: () => boolean) {
    const options: CircuitBreaker.Options & { state?: object } = {
      ...STATUS_OPTIONS,
      name: 'instance',
      status: NO_STATUS as unknown as CircuitBreaker.Status,
      timeout: false,
      resetTimeout: NEVER_MS,
      // Every failure proposes to open; `open` below disposes.
      errorThresholdPercentage: -1,
    };
    if (start === 'half-open') options.state = { closed: false, halfOpen: true };
    super(action, options);
    this.#mayOpen = mayOpen;
    // A failure then resolves the promise of `fire`, which nobody awaits: no unhandled rejection.
    this.fallback(() => HANDLED);
    for (const event of UNREAD) this.removeAllListeners(event);
    Object.assign(this, { semaphore: UNLIMITED });
  }

  /** Obligation: only while closed, or once while half-open. */
  begin(call: Call): void {
    beginning = call;
    void this.fire();
    beginning = undefined;
  }

  override open(): void {
    if (this.halfOpen || this.#mayOpen()) super.open();
  }
}
