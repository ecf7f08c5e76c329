import type { Released } from '../../cni/released.ts';
import { parseInterfaceAddress } from '../address/prefix.ts';
import type { AttachmentRecord, RecordStore } from '../attach/record.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';

export interface RecoveryOptions {
  readonly ipam: Ipam;
  readonly records: Pick<RecordStore, 'list' | 'remove'>;
  readonly released: Pick<Released, 'drain'>;
  /** The boot id of the machine. */
  readonly boot: string;
  /** Takes back attachments that are of an earlier boot, or that were left half-way; tells which it has. */
  readonly undo: (records: readonly AttachmentRecord[]) => Promise<AttachmentRecord[]>;
  readonly log: Log;
}

/**
 * Brings addresses, records and the machine together again, before the first call is served. What is not proved
 * to be dead is kept: an address that leaks is found by the runtime's GC, one that is given out twice by the users.
 */
export async function recover(options: RecoveryOptions): Promise<void> {
  const { ipam, records, released, undo, log } = options;
  for (const failure of await released.drain(async (owner) => void (await ipam.release(owner)))) {
    log.error('a release noted by the plugin cannot be carried out', { error: failure });
  }
  const { records: found, damaged } = records.list();
  for (const { file, reason } of damaged) log.error('attachment record set aside', { file, reason });
  const undone = new Set(await undo(found));
  for (const record of undone) await bury(record, options);
  for (const record of found) if (!undone.has(record)) await adopt(record, options);
  await freeOfEarlierBoots(found, options);
}

async function bury({ spec }: AttachmentRecord, { ipam, records, log }: RecoveryOptions): Promise<void> {
  // A delegated plugin needs the call of a runtime: the record stays for the DEL or GC that brings it.
  if (spec.ipam.kind === 'delegated') return;
  await ipam.release({ containerID: spec.containerId, ifName: spec.ifName });
  records.remove(spec.id);
  log.info('attachment removed that was left behind', { id: spec.id, containerID: spec.containerId });
}

/** A pod whose address the journal does not know must keep it all the same. */
async function adopt({ spec }: AttachmentRecord, { ipam, log }: RecoveryOptions): Promise<void> {
  const owner = { containerID: spec.containerId, ifName: spec.ifName, network: spec.network };
  if (spec.ipam.kind !== 'agent' || ipam.heldBy(owner)) return;
  try {
    await ipam.adopt(
      owner,
      spec.addresses.map(({ address }) => parseInterfaceAddress(address).address),
    );
    log.warning('the journal did not know the addresses of an attachment', { id: spec.id });
  } catch (error) {
    log.error('two attachments claim one address', { id: spec.id, error });
  }
}

/** Allocations that never came to be attachments, and whose boot is over. */
async function freeOfEarlierBoots(
  records: readonly AttachmentRecord[],
  { ipam, boot, log }: RecoveryOptions,
): Promise<void> {
  const recorded = new Set(records.map(({ spec }) => `${spec.containerId}/${spec.ifName}`));
  for (const { owner, boot: then } of ipam.allocations()) {
    if (then === boot || recorded.has(`${owner.containerID}/${owner.ifName}`)) continue;
    await ipam.release(owner);
    log.info('allocation of an earlier boot freed', { containerID: owner.containerID });
  }
}
