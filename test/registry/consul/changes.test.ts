import { describe, expect, it } from 'vitest';
import { instance, type Instance } from '../../../src/core/instance.ts';
import { Changes } from '../../../src/registry/consul/changes.ts';
import { Mailbox, type Truth } from '../../../src/registry/consul/mailbox.ts';

const member = (id: string, port = 80): Instance => instance({ id, service: 'web', host: '10.0.0.1', port });
const reset = (...instances: Instance[]): Truth => ({ kind: 'reset', service: 'web', instances });
const absent: Truth = { kind: 'absent', service: 'web' };

describe('whole answers', () => {
  const told = (...truths: Truth[]): string[] => {
    const changes = new Changes();
    return truths.map((truth) =>
      [...changes.of(truth)]
        .map((event) => {
          if (event.kind === 'reset') return `reset ${event.instances.map((each) => each.id).join('+')}`;
          if (event.kind === 'upsert') return `upsert ${event.instance.id}:${event.instance.port}`;
          return event.kind === 'remove' ? `remove ${event.id}` : event.kind;
        })
        .join(', '),
    );
  };

  it('are told whole at first, and as changes from then on', () => {
    expect(told(reset(member('a')), reset(member('a'), member('b')), reset(member('b', 81)))).toEqual([
      'reset a',
      'upsert b:80',
      'remove a, upsert b:81',
    ]);
  });

  it('remove the last instances by name before the service is absent, and begin anew when it comes back', () => {
    expect(told(absent, reset(member('a')), absent, reset(member('b')))).toEqual([
      'absent',
      'reset a',
      'remove a, absent',
      'reset b',
    ]);
  });

  it('of another history are whole again: nobody deregistered what is not in them', () => {
    expect(told(reset(member('a'), member('b')), { ...reset(member('b')), restarted: true })).toEqual([
      'reset a+b',
      'reset b',
    ]);
  });
});

describe('the mailbox', () => {
  it('keeps the newest truth of a service only, tells truths before the sign of life, and the failure before all', async () => {
    const mailbox = new Mailbox();
    mailbox.sync('1');
    mailbox.put(reset(member('a')));
    mailbox.put(reset(member('b')));
    const reader = mailbox.read();
    expect(await reader.next()).toMatchObject({ value: { kind: 'reset', instances: [{ id: 'b' }] } });
    expect(await reader.next()).toMatchObject({ value: { kind: 'synced', revision: '1' } });
    const waiting = reader.next();
    mailbox.put(absent);
    expect(await waiting).toMatchObject({ value: { kind: 'absent' } });
    mailbox.put(reset(member('c')));
    mailbox.fail(new Error('lost'));
    mailbox.fail(new Error('later'));
    await expect(reader.next()).rejects.toThrow('lost');
  });

  it('remembers that a truth nobody read was of another history', async () => {
    const mailbox = new Mailbox();
    mailbox.put({ ...reset(member('a')), restarted: true });
    mailbox.put(reset(member('b')));
    expect((await mailbox.read().next()).value).toMatchObject({ restarted: true, instances: [{ id: 'b' }] });
  });
});
