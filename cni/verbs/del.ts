import { attachmentId } from '../../src/attach/attachment.ts';
import type { AttachmentRecord } from '../../src/attach/record.ts';
import type { Call, CallOf } from '../answer.ts';
import { deleteFollowers } from '../followers.ts';
import type { Node } from '../node.ts';
import { ownerOf, sourceOf, sourceOfRecord } from '../source.ts';

/**
 * DEL: what is there is taken back, what is not there is no reason to fail. An error means that trying again
 * can help, since runtimes keep trying; a pod whose namespace, record or interface is gone can always be removed.
 */
export async function del(call: CallOf<'DEL'>, node: Node): Promise<undefined> {
  const { environment, configuration } = call;
  const { containerID, ifName } = environment;
  const id = attachmentId(containerID, ifName);
  const record = node.records.read(id);
  if (record === undefined) {
    // Killed between the allocation and the record, or the state of the node was lost.
    await node.sweep({ id, ifName, netns: environment.netns });
    node.records.remove(id);
    await sourceOf(call, node).release({ network: configuration.network, containerID, ifName });
    return;
  }
  await takeBack(record, call, node);
}

/** The record goes last: whatever ends this half-way, the next DEL, GC or start of the agent finds it. */
export async function takeBack(record: AttachmentRecord, call: Call, node: Node): Promise<void> {
  await deleteFollowers(record.spec.followers, ownerOf(record), call.environment);
  await node.detach(record);
  await sourceOfRecord(record, call, node).release(ownerOf(record));
  node.records.remove(record.spec.id);
}
