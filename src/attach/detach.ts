import { setTimeout as delay } from 'node:timers/promises';
import { because } from '../errors.ts';
import { hasCode, isDiskFull } from '../ffi/systemError.ts';
import type { Log } from '../log.ts';
import { type Deletion, startDeletion } from '../netlink/deletion.ts';
import { sameNamespace } from '../netlink/namespace.ts';
import { openNetlink } from '../netlink/socket.ts';
import { hostLinkName } from './attachment.ts';
import { type LentDevice, lentDeviceOf, returnDevice, strandedDevice } from './nic.ts';
import { findPod, type Pod, reopenPod } from './pod.ts';
import type { PodPrograms } from './podPrograms.ts';
import { type AttachmentRecord, bootId, type RecordStore } from './record.ts';

export interface DetachHooks {
  readonly programs: PodPrograms;
  readonly records: RecordStore;
  readonly log: Log;
}

/** How long the kernel may take to bring hardware home from a namespace that has just been removed. */
const HOMECOMING_MS = 2000;
const HOMECOMING_POLL_MS = 50;

/**
 * Takes back all that {@link attach} made, as far as it is there: the interface is gone when this resolves.
 * The record stays, as `detaching`, until its owner has released the addresses and removes it.
 *
 * @throws {Error} Where trying again can help. What can never be undone any more is logged instead.
 */
export async function detach(record: AttachmentRecord, hooks: DetachHooks): Promise<void> {
  const { spec } = record;
  try {
    if (record.state !== 'detaching') noteDetaching(record, hooks);
    hooks.programs.detach(spec.id);
    // Of what an earlier kernel was told, nothing is left.
    if (record.bootId === bootId()) await takeBack(record, hooks.log);
  } catch (error) {
    throw because(`detach ${spec.ifName} from container ${spec.containerId}`, error);
  }
}

/**
 * For who finds the record after a crash. A full disk has no room for that, and gets some by pods that go: there the runtime
 * alone remembers, which calls DEL until that has succeeded.
 */
function noteDetaching(record: AttachmentRecord, { records, log }: DetachHooks): void {
  try {
    records.write({ ...record, state: 'detaching', time: new Date().toISOString() });
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    log.warning('an attachment is taken back without a note of it', { id: record.spec.id, error });
  }
}

/** What is known of an attachment whose record is lost. */
export interface Remains {
  readonly id: string;
  readonly ifName: string;
  /** Path of the pod's namespace, if the runtime tells. */
  readonly netns: string | undefined;
}

/** Takes back what is left of an attachment without a record: host end, programs, a lent device. Once more does nothing. */
export async function sweep({ id, ifName, netns }: Remains, hooks: DetachHooks): Promise<void> {
  hooks.programs.detach(id);
  await removeHostEnd(id);
  const pod = netns === undefined ? undefined : findPod(netns);
  try {
    const lent = pod && !isRecorded(pod, ifName, hooks.records) && strandedDevice(pod, id, ifName);
    if (!lent) return;
    await bringHome(lent, pod, hooks.log);
    hooks.log.warning('a device came home without its record: its addresses and routes are not known', {
      id,
      device: lent.original.name,
    });
  } finally {
    pod?.close();
  }
}

/** A path may lead to another pod by now. */
function isRecorded({ identity }: Pod, ifName: string, records: RecordStore): boolean {
  return records
    .list()
    .records.some(({ spec, namespace }) => spec.ifName === ifName && sameNamespace(namespace, identity));
}

async function removeHostEnd(id: string): Promise<void> {
  await vanished(startDeletion(hostLinkName(id), 'veth'));
}

async function takeBack(record: AttachmentRecord, log: Log): Promise<void> {
  const { spec, attached } = record;
  if (spec.kind.kind === 'veth') {
    await removeHostEnd(spec.id);
    return;
  }
  const pod = reopenPod(spec.netns, record.namespace);
  try {
    const lent = lentDeviceOf(record);
    if (lent !== undefined) await bringHome(lent, pod, log);
    if (pod === undefined || spec.kind.kind !== 'child') return;
    const { type } = spec.kind;
    // By its index, since the pod may have renamed it; there was no other of its name before there was a record.
    await vanished(pod.inside(() => startDeletion(attached?.pod.index ?? spec.ifName, type)));
  } finally {
    pod?.close();
  }
}

async function vanished({ gone }: Deletion): Promise<void> {
  try {
    await gone;
  } catch (error) {
    if (!hasCode(error, 'ENODEV')) throw error;
  }
}

async function bringHome(lent: LentDevice, pod: Pod | undefined, log: Log): Promise<void> {
  const { original } = lent;
  const node = openNetlink();
  try {
    let returned = returnDevice(node, pod, lent);
    const isHardware = original.kind === undefined;
    for (
      let waited = 0;
      !returned.found && isHardware && waited < HOMECOMING_MS;
      waited += HOMECOMING_POLL_MS
    ) {
      await delay(HOMECOMING_POLL_MS);
      returned = returnDevice(node, pod, lent);
    }
    if (!returned.found && isHardware) {
      log.warning(`Cannot give device ${original.name} back: it is neither in the pod nor on the node`, {
        id: lent.id,
      });
    }
    for (const reason of returned.failed) {
      log.warning(`Cannot restore device ${original.name}: ${reason}`, { id: lent.id });
    }
  } finally {
    node.close();
  }
}
