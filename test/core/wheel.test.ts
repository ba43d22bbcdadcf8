import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock, type Clock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import { TimingWheel, WheelEntry } from '../../src/core/wheel.ts';

class Note extends WheelEntry {
  readonly firedAtMs: number[] = [];
  readonly #then: ((note: Note, nowMs: number) => void) | undefined;

  constructor(then?: (note: Note, nowMs: number) => void) {
    super();
    this.#then = then;
  }

  expire(nowMs: number): void {
    this.firedAtMs.push(nowMs);
    this.#then?.(this, nowMs);
  }
}

/** A clock whose event loop can be blocked: time passes, and timers that fell due meanwhile all run late. */
class StallingClock implements Clock {
  nowMs = 0;
  #tasks: { dueMs: number; task: () => void }[] = [];

  now(): number {
    return this.nowMs;
  }

  wall(): number {
    return this.nowMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const entry = { dueMs: this.nowMs + delayMs, task };
    this.#tasks.push(entry);
    return () => {
      this.#tasks = this.#tasks.filter((other) => other !== entry);
    };
  }

  /** Jumps, and then runs one turn of the event loop. */
  stall(byMs: number): void {
    this.nowMs += byMs;
    const due = this.#tasks.filter((entry) => entry.dueMs <= this.nowMs);
    this.#tasks = this.#tasks.filter((entry) => entry.dueMs > this.nowMs);
    for (const entry of due) entry.task();
  }

  get pending(): number {
    return this.#tasks.length;
  }
}

describe('TimingWheel', () => {
  it('expires an entry at its due time, up to one tick late and never early', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 64 });
    const note = new Note();
    wheel.schedule(note, 123);
    clock.advance(122);
    expect(note.firedAtMs).toEqual([]);
    clock.advance(100);
    expect(note.firedAtMs).toEqual([130]);
    expect(note.scheduled).toBe(false);
  });

  it('holds no timer while it is empty, and exactly one otherwise', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 64 });
    expect(clock.pending).toBe(0);
    const notes = Array.from({ length: 100 }, () => new Note());
    for (const [index, note] of notes.entries()) wheel.schedule(note, 5000 - index * 17);
    expect(clock.pending).toBe(1);
    expect(wheel.size).toBe(100);
    for (const note of notes) wheel.cancel(note);
    expect(clock.pending).toBe(0);
    expect(wheel.size).toBe(0);
    wheel.schedule(notes[0]!, 1);
    clock.advance(20);
    expect(clock.pending).toBe(0);
  });

  it('sleeps until the next slot in use instead of waking at every tick', () => {
    const clock = new ManualClock();
    let wakes = 0;
    const wheel = new TimingWheel({ clock, tickMs: 1, slots: 1024, onWake: () => wakes++ });
    const note = new Note();
    wheel.schedule(note, 900);
    clock.advance(900);
    expect(note.firedAtMs).toEqual([900]);
    expect(wakes).toBe(1);
  });

  it('expires due times many rotations ahead exactly once', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 1, slots: 32 });
    const note = new Note();
    wheel.schedule(note, 1000);
    clock.advance(2000);
    expect(note.firedAtMs).toEqual([1000]);
  });

  it('moves an entry that is scheduled again, to an earlier or a later time', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 1, slots: 64 });
    const later = new Note();
    wheel.schedule(later, 10);
    wheel.schedule(later, 50);
    const earlier = new Note();
    wheel.schedule(earlier, 50);
    wheel.schedule(earlier, 10);
    expect(wheel.size).toBe(2);
    clock.advance(100);
    expect(later.firedAtMs).toEqual([50]);
    expect(earlier.firedAtMs).toEqual([10]);
  });

  it('fires a time in the past at the next tick and not from within schedule', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 64 });
    clock.advance(1005);
    const note = new Note();
    wheel.schedule(note, 3);
    expect(note.firedAtMs).toEqual([]);
    clock.advance(10);
    expect(note.firedAtMs).toEqual([1010]);
  });

  it('does not let an entry that reschedules itself for now spin within one turn', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 64 });
    const note = new Note((self, nowMs) => wheel.schedule(self, nowMs));
    wheel.schedule(note, 0);
    clock.advance(100);
    expect(note.firedAtMs).toEqual([10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
  });

  it('lets an expiring entry cancel and move others that are due in the same slot', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 64 });
    const cancelled = new Note();
    const moved = new Note();
    const first = new Note(() => {
      wheel.cancel(cancelled);
      wheel.schedule(moved, 55);
    });
    for (const note of [first, cancelled, moved]) wheel.schedule(note, 20);
    clock.advance(20);
    expect([first.firedAtMs, cancelled.firedAtMs, moved.firedAtMs]).toEqual([[20], [], []]);
    clock.advance(100);
    expect([cancelled.firedAtMs, moved.firedAtMs]).toEqual([[], [60]]);
    expect(clock.pending).toBe(0);
  });

  describe('told what a pause of its own is', () => {
    const scene = (): { clock: StallingClock; wheel: TimingWheel } => {
      const clock = new StallingClock();
      return { clock, wheel: new TimingWheel({ clock, tickMs: 50, slots: 256, stall: { lateMs: 300, restMs: 1000 } }) };
    };
    const pass = (clock: StallingClock, ms: number): void => {
      for (let passed = 0; passed < ms; passed += 10) clock.stall(10);
    };

    it('lets what fell due in one expire a rest later, and what was cleared meanwhile not at all', () => {
      const { clock, wheel } = scene();
      const [unanswered, answered, later] = [new Note(), new Note(), new Note()];
      wheel.schedule(unanswered, 1000);
      wheel.schedule(answered, 1000);
      wheel.schedule(later, 10_000);
      clock.stall(5000);
      wheel.cancel(answered);
      pass(clock, 900);
      expect(unanswered.firedAtMs).toEqual([]);
      pass(clock, 4100);
      expect(unanswered.firedAtMs).toEqual([6000]);
      expect(answered.firedAtMs).toEqual([]);
      expect(later.firedAtMs).toEqual([10_000]);
    });

    it('is told by others of one that ended just after a deadline', () => {
      const { clock, wheel } = scene();
      const note = new Note();
      wheel.schedule(note, 5000);
      clock.nowMs = 5010;
      wheel.hold(clock.nowMs + 1000);
      pass(clock, 900);
      expect(note.firedAtMs).toEqual([]);
      pass(clock, 200);
      expect(note.firedAtMs).toEqual([6010]);
    });

    it('keeps deadlines all the same where pauses have no end', () => {
      const { clock, wheel } = scene();
      const note = new Note();
      wheel.schedule(note, 1000);
      for (let pauses = 0; pauses < 20; pauses++) {
        clock.stall(900);
        wheel.hold(clock.nowMs + 1000);
      }
      expect(note.firedAtMs).toHaveLength(1);
      expect(note.firedAtMs[0]).toBeLessThanOrEqual(8000);
    });

    it.each([
      ['ends after the rest of the first', 3000],
      ['ends within the rest of the first', 400],
    ])('rests anew after a second one that %s', (_when, pauseMs) => {
      const { clock, wheel } = scene();
      const [unanswered, answered] = [new Note(), new Note()];
      wheel.schedule(unanswered, 1000);
      wheel.schedule(answered, 1000);
      clock.stall(5000);
      wheel.hold(clock.nowMs + 1000);
      pass(clock, 500);
      clock.stall(pauseMs);
      wheel.hold(clock.nowMs + 1000);
      const resumedMs = clock.nowMs;
      pass(clock, 900);
      expect(unanswered.firedAtMs).toEqual([]);
      wheel.cancel(answered);
      pass(clock, 4000);
      expect(unanswered.firedAtMs).toEqual([resumedMs + 1000]);
      expect(answered.firedAtMs).toEqual([]);
    });

    it('takes one that several tell of for one', () => {
      const { clock, wheel } = scene();
      const note = new Note();
      wheel.schedule(note, 1000);
      clock.stall(5000);
      for (let timers = 0; timers < 10; timers++) wheel.hold(clock.nowMs + 1000);
      pass(clock, 10);
      wheel.hold(clock.nowMs + 1000);
      pass(clock, 490);
      for (let pauses = 1; pauses <= 2; pauses++) {
        clock.stall(2000);
        wheel.hold(clock.nowMs + 1000);
        pass(clock, 500);
      }
      expect(note.firedAtMs).toEqual([]);
    });

    it('knows the next one as well, where nothing fell due in the first', () => {
      const { clock, wheel } = scene();
      const note = new Note();
      wheel.schedule(note, 5000);
      clock.nowMs = 1000;
      wheel.hold(2000);
      clock.nowMs = 3000;
      clock.stall(4000);
      pass(clock, 900);
      expect(note.firedAtMs).toEqual([]);
      pass(clock, 200);
      expect(note.firedAtMs).toEqual([8000]);
    });

    it('does not take hold of what comes after it', () => {
      const { clock, wheel } = scene();
      wheel.hold(5000);
      const note = new Note();
      wheel.schedule(note, 100);
      pass(clock, 200);
      expect(note.firedAtMs).toEqual([100]);
    });
  });

  it('after a stall expires everything missed once, without repeating periods that were missed', () => {
    const clock = new StallingClock();
    const late: number[] = [];
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32, onWake: (lateMs) => late.push(lateMs) });
    const periodic = new Note((self, nowMs) => wheel.schedule(self, nowMs + 50));
    const once = new Note();
    wheel.schedule(periodic, 50);
    wheel.schedule(once, 700);
    clock.stall(1234);
    expect(periodic.firedAtMs).toEqual([1234]);
    expect(once.firedAtMs).toEqual([1234]);
    expect(late).toEqual([1184]);
    expect(clock.pending).toBe(1);
  });

  it('spreads a burst over several turns, and reports no lag for the time it waited on purpose', () => {
    const clock = new StallingClock();
    const late: number[] = [];
    const wheel = new TimingWheel({
      clock,
      tickMs: 10,
      slots: 32,
      maxPerTurn: 4,
      onWake: (lateMs) => late.push(lateMs),
    });
    const notes = Array.from({ length: 10 }, () => new Note());
    for (const note of notes) wheel.schedule(note, 20);
    const fired = (): number => notes.filter((note) => note.firedAtMs.length > 0).length;
    clock.stall(20);
    expect(fired()).toBe(4);
    clock.stall(1);
    expect(fired()).toBe(8);
    clock.stall(1);
    expect(fired()).toBe(10);
    expect(late).toEqual([0, 1, 1]);
    expect(clock.pending).toBe(0);
  });

  it('does not call the time before an entry was scheduled lag', () => {
    const clock = new StallingClock();
    const late: number[] = [];
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32, onWake: (lateMs) => late.push(lateMs) });
    wheel.schedule(new Note(), 300);
    clock.nowMs = 200;
    wheel.schedule(new Note(), 5);
    clock.stall(1);
    expect(late).toEqual([1]);
  });

  it('keeps the deadlines of the others when one entry throws', () => {
    const clock = new StallingClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32 });
    const bad = new Note(() => {
      throw new Error('broken');
    });
    const same = new Note();
    const next = new Note();
    wheel.schedule(bad, 10);
    wheel.schedule(same, 10);
    wheel.schedule(next, 50);
    expect(() => clock.stall(10)).toThrow('broken');
    clock.stall(1);
    expect(same.firedAtMs).toEqual([11]);
    clock.stall(60);
    expect(next.firedAtMs).toEqual([71]);
  });

  it('forgets everything on stop, and arms nothing afterwards', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32 });
    const notes = Array.from({ length: 5 }, () => new Note());
    for (const [index, note] of notes.entries()) wheel.schedule(note, index * 100);
    wheel.stop();
    wheel.schedule(notes[0]!, 10);
    expect([wheel.size, clock.pending]).toEqual([0, 0]);
    clock.advance(1000);
    expect(notes.every((note) => note.firedAtMs.length === 0 && !note.scheduled)).toBe(true);
  });

  it('stops from within an expiry', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32 });
    const after = new Note();
    wheel.schedule(new Note(() => wheel.stop()), 10);
    wheel.schedule(after, 10);
    clock.advance(100);
    expect([after.firedAtMs.length, wheel.size, clock.pending]).toEqual([0, 0, 0]);
  });

  it('refuses a due time that is not a number, and sizes that cannot work', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32 });
    expect(() => wheel.schedule(new Note(), Number.NaN)).toThrow(RangeError);
    const scheduled = new Note();
    wheel.schedule(scheduled, 10);
    expect(() => wheel.schedule(scheduled, Number.NaN)).toThrow(RangeError);
    for (const slots of [0, 16, 48, 100]) expect(() => new TimingWheel({ clock, tickMs: 1, slots })).toThrow('slots');
    expect(() => new TimingWheel({ clock, tickMs: 0, slots: 32 })).toThrow('tickMs');
  });

  it('still works after the clock has run for months', () => {
    const clock = new ManualClock();
    clock.advance(2 ** 33);
    const wheel = new TimingWheel({ clock, tickMs: 1, slots: 64 });
    const note = new Note();
    wheel.schedule(note, 2 ** 33 + 100);
    clock.advance(99);
    expect(note.firedAtMs).toEqual([]);
    clock.advance(1);
    expect(note.firedAtMs).toEqual([2 ** 33 + 100]);
  });

  it('behaves as a plain list of due times does, whatever is scheduled, moved, cancelled and stalled', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('schedule' as const),
        entry: fc.nat(15),
        inMs: fc.integer({ min: -50, max: 900 }),
      }),
      fc.record({ kind: fc.constant('cancel' as const), entry: fc.nat(15), inMs: fc.constant(0) }),
      fc.record({ kind: fc.constant('stall' as const), entry: fc.constant(0), inMs: fc.integer({ min: 0, max: 700 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.constantFrom(1, 7, 10), (steps, tickMs) => {
        const clock = new StallingClock();
        const wheel = new TimingWheel({ clock, tickMs, slots: 32 });
        const notes = Array.from({ length: 16 }, () => new Note());
        /** For each armed entry: not before, and at the latest by the tick that follows. */
        const armed = new Map<Note, { dueMs: number; latestMs: number }>();
        for (const { kind, entry, inMs } of steps) {
          const note = notes[entry]!;
          if (kind === 'schedule') {
            const dueMs = clock.nowMs + inMs;
            wheel.schedule(note, dueMs);
            const latestTick = Math.max(Math.ceil(dueMs / tickMs), Math.floor(clock.nowMs / tickMs) + 1);
            armed.set(note, { dueMs, latestMs: latestTick * tickMs });
          } else if (kind === 'cancel') {
            wheel.cancel(note);
            armed.delete(note);
          } else {
            const before = notes.map((other) => other.firedAtMs.length);
            clock.stall(inMs);
            for (const [index, other] of notes.entries()) {
              const fired = other.firedAtMs.length - before[index]!;
              const expected = armed.get(other);
              if (fired === 0) {
                if (expected !== undefined) expect(clock.nowMs).toBeLessThan(expected.latestMs);
              } else {
                expect(fired).toBe(1);
                expect(clock.nowMs).toBeGreaterThanOrEqual(expected?.dueMs ?? Number.POSITIVE_INFINITY);
                armed.delete(other);
              }
            }
          }
          expect(wheel.size).toBe(armed.size);
          expect(clock.pending).toBe(armed.size > 0 ? 1 : 0);
        }
        clock.stall(2000);
        expect(wheel.size).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  it('carries 100,000 entries that re-arm themselves, each within a tick of its due time', () => {
    const clock = new ManualClock();
    const wheel = new TimingWheel({ clock, tickMs: 10, slots: 1024, maxPerTurn: 100_000 });
    const random = seededRandom(7);
    let fired = 0;
    let worstMs = 0;
    class Periodic extends WheelEntry {
      expire(nowMs: number): void {
        fired++;
        worstMs = Math.max(worstMs, nowMs - this.dueMs);
        wheel.schedule(this, this.dueMs + 10_000);
      }
    }
    for (let count = 0; count < 100_000; count++) wheel.schedule(new Periodic(), random() * 10_000);
    clock.advance(20_000);
    expect(fired).toBe(200_000);
    expect(worstMs).toBeLessThanOrEqual(10);
    expect([wheel.size, clock.pending]).toEqual([100_000, 1]);
  });
});
