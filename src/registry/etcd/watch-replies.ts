import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import { GrpcStatus, type GrpcCall } from './grpc-call.ts';
import { watchReply, type WatchReply } from './messages.ts';

export type WatchReplies = AsyncGenerator<WatchReply, void, undefined>;

/** The history we asked for is gone: what is known must be listed again. */
export class Compacted extends RegistryUnreachable {
  override readonly name = 'Compacted';

  constructor(label: RegistryLabel, endpoint: string, cause: Error) {
    const text = `compacted the history faster than we read it (${cause.message}); lengthen its compaction period`;
    super(label, endpoint, { fault: 'unwell', text }, cause);
  }
}

/** As the server says it of a watch: the revision it is compacted to. */
export class WatchCompacted extends Error {
  override readonly name = 'WatchCompacted';
}

/** What comes in on a call of Watch; a cancelled watch ends in an error. */
export async function* repliesOf(call: GrpcCall): WatchReplies {
  for await (const message of call.messages()) {
    const reply = watchReply(message);
    if (reply.canceled) throw cancellation(reply);
    yield reply;
  }
}

/** A cancelled watch gives its reason in words only, and of compaction in a field only. */
function cancellation(reply: WatchReply): Error {
  if (reply.compactRevision > 0n) return new WatchCompacted(`compacted at revision ${reply.compactRevision}`);
  return new GrpcStatus(0, reply.cancelReason === '' ? 'the watch was cancelled without a reason' : reply.cancelReason);
}
