import type { Clock } from '../core/clock.ts';
import type { Timeline, TimelineEvent } from '../telemetry/timeline.ts';

export interface FollowersOptions {
  readonly clock: Clock;
  readonly timeline: Timeline;
  readonly limit?: number;
}

export interface FollowQuestion {
  /** Begin after this sequence number. */
  readonly after: number;
  readonly service: string | undefined;
}

const LIMIT = 32;
/** Events that may wait for a slow reader. */
const MAX_WAITING = 1024;
/** Proxies and clients give up on connections that say nothing. */
const HEARTBEAT_MS = 15_000;

/** Readers of the timeline as server-sent events (WHATWG HTML, section 9.2), each with a bounded queue. */
export class Followers {
  readonly #clock: Clock;
  readonly #timeline: Timeline;
  readonly #limit: number;
  readonly #ends = new Set<() => void>();

  constructor(options: FollowersOptions) {
    this.#clock = options.clock;
    this.#timeline = options.timeline;
    this.#limit = options.limit ?? LIMIT;
  }

  get count(): number {
    return this.#ends.size;
  }

  /** What has happened since, then what happens, until the reader goes away. undefined: there are too many. */
  follow({ after, service }: FollowQuestion): ReadableStream<Uint8Array> | undefined {
    if (this.#ends.size >= this.#limit) return undefined;
    let end = (): void => undefined;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const encoder = new TextEncoder();
          const send = (text: string): void => {
            if ((controller.desiredSize ?? 0) > 0) {
              controller.enqueue(encoder.encode(text));
              return;
            }
            // Its client reconnects by itself and asks for what it has missed.
            end();
            controller.close();
          };
          const show = (event: TimelineEvent): void => {
            if (service === undefined || event.service === service) send(eventText(event));
          };
          end = this.#begin(show, () => {
            send(': still here\n\n');
          });
          send(': the timeline\n\n');
          // No more than half of what may wait: the reader has not had a chance to read yet.
          for (const event of this.#timeline.latest({ after, limit: MAX_WAITING / 2 })) show(event);
        },
        cancel: () => {
          end();
        },
      },
      { highWaterMark: MAX_WAITING },
    );
  }

  #begin(show: (event: TimelineEvent) => void, beat: () => void): () => void {
    const unsubscribe = this.#timeline.subscribe(show);
    let cancel = (): void => undefined;
    const arm = (): void => {
      cancel = this.#clock.after(HEARTBEAT_MS, () => {
        arm();
        beat();
      });
    };
    arm();
    const end = (): void => {
      unsubscribe();
      cancel();
      this.#ends.delete(end);
    };
    this.#ends.add(end);
    return end;
  }
}

function eventText(event: TimelineEvent): string {
  return `id: ${event.sequence}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`;
}
