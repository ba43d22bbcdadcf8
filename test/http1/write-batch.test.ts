import { describe, expect, it } from 'vitest';
import { Stage } from '../../src/http1/stage.ts';
import { WriteBatch } from '../../src/http1/write-batch.ts';
import { MemoryTransport } from './memory-transport.ts';
import { latin1 } from './server-view.ts';

const nobody = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => undefined };
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Puts a message together in the stage, as the gateway does; returns where it lies. */
function compose(stage: Stage, text: string): [buffer: Buffer, start: number, end: number] {
  stage.reserve(text.length);
  return [stage.buffer, stage.start, stage.start + stage.buffer.write(text, stage.start, 'latin1')];
}

describe('a stage', () => {
  it('uses the same memory again and again', () => {
    const stage = new Stage(100);
    const { buffer } = stage;
    for (let i = 0; i < 10; i++) stage.reserve(100);
    expect([stage.buffer === buffer, stage.start]).toEqual([true, 0]);
  });

  it('leaves what is in a pending write alone', () => {
    const stage = new Stage(100);
    stage.pin(60);
    stage.reserve(40);
    expect(stage.start).toBe(60);
  });

  it('takes new memory where there is no room, and as much as is asked for', () => {
    const stage = new Stage(100);
    const { buffer } = stage;
    stage.pin(60);
    stage.reserve(41);
    expect([stage.buffer === buffer, stage.start, stage.buffer.length]).toEqual([false, 0, 100]);
    stage.reserve(5000);
    expect(stage.buffer.length).toBe(5000);
  });

  it('goes back to where it was when a batch has been taken, but not behind what is pending', () => {
    const stage = new Stage(100);
    stage.pin(10);
    stage.keep(30);
    stage.flushed(true);
    expect(stage.start).toBe(10);
    stage.keep(40);
    stage.flushed(false);
    expect(stage.start).toBe(40);
    stage.keep(50);
    stage.flushed(true);
    expect(stage.start).toBe(40);
  });
});

describe('a batch', () => {
  it('is written at the end of the turn, in order', async () => {
    const stage = new Stage();
    const batch = new WriteBatch(stage);
    const transports = Array.from({ length: 50 }, () => new MemoryTransport(nobody));
    for (let round = 0; round < 3; round++)
      for (const [i, transport] of transports.entries()) batch.add(transport, ...compose(stage, `<${i}.${round}>`));
    expect(transports[0]!.sent).toBe('');
    await turn();
    for (const [i, { sent }] of transports.entries()) expect(sent).toBe(`<${i}.0><${i}.1><${i}.2>`);
    expect(stage.start).toBe(0);
  });

  it('goes out before anything else that its connections say', () => {
    const stage = new Stage();
    const batch = new WriteBatch(stage);
    const transport = new MemoryTransport(nobody);
    batch.add(transport, latin1('first '), 0, 6);
    transport.write(latin1('second'), 0, 6);
    expect(transport.sent).toBe('first second');
    batch.add(transport, latin1(' third'), 0, 6);
    transport.end();
    expect([transport.sent, transport.ended]).toEqual(['first second third', true]);
  });

  it('says nothing on a connection that has gone', async () => {
    const stage = new Stage();
    const batch = new WriteBatch(stage);
    const gone = new MemoryTransport(nobody);
    const other = new MemoryTransport(nobody);
    batch.add(gone, latin1('a'), 0, 1);
    batch.add(other, latin1('b'), 0, 1);
    gone.destroy();
    await turn();
    expect([gone.sent, other.sent]).toEqual(['', 'b']);
  });

  it('keeps the memory of what stays pending, whatever is said meanwhile', async () => {
    const stage = new Stage(4096);
    const batch = new WriteBatch(stage);
    const slow = new MemoryTransport(nobody);
    const quick = new MemoryTransport(nobody);
    slow.pends = () => true;
    let expected = '';
    for (let round = 0; round < 400; round++) {
      const text = `${round};`.repeat(1 + (round % 40));
      batch.add(round % 3 === 0 ? slow : quick, ...compose(stage, text));
      if (round % 3 === 0) expected += text;
      if (round % 7 === 0) await turn();
      if (round % 11 === 0) {
        const [buffer, start, end] = compose(stage, 'direct');
        if (!slow.write(buffer, start, end)) stage.pin(end);
        expected += 'direct';
      }
      // Finds out memory that was written over.
      if (round % 50 === 49) slow.drain();
    }
    await turn();
    slow.drain();
    expect(slow.sent === expected).toBe(true);
  });

  it('can be added to while others are being written out', async () => {
    const stage = new Stage();
    const batch = new WriteBatch(stage);
    const a = new MemoryTransport(nobody);
    const b = new MemoryTransport(nobody);
    batch.add(a, latin1('1'), 0, 1);
    batch.add(b, latin1('2'), 0, 1);
    a.write(latin1('now'), 0, 3);
    batch.add(b, latin1('3'), 0, 1);
    await turn();
    await turn();
    expect([a.sent, b.sent]).toEqual(['1now', '23']);
  });
});
