import { because } from '../errors.ts';
import { listLinks } from '../netlink/link.ts';
import type { Netlink } from '../netlink/socket.ts';
import { HOST_LINK_PREFIX } from './attachment.ts';
import { type DetachHooks, detach } from './detach.ts';
import { type AttachmentRecord, bootId } from './record.ts';

/** Nobody works on a record this long; who wrote it was killed. */
const ABANDONED_MS = 10_000;

/** What `recover` needs to know of the present. */
export interface RecoverHooks extends DetachHooks {
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Undoes attachments that were begun and not finished, or whose removal was, and those of an earlier kernel.
 *
 * @returns Their records, with nothing of them left in the kernel: release the addresses, then remove them.
 * Attachments that cannot be undone now, or that somebody may be working on, are left for the next time.
 */
export async function recover(
  records: readonly AttachmentRecord[],
  hooks: RecoverHooks,
): Promise<AttachmentRecord[]> {
  const undone: AttachmentRecord[] = [];
  for (const record of records.filter((each) => isAbandoned(each, hooks.now))) {
    try {
      await detach(record, hooks);
      undone.push(record);
    } catch (error) {
      hooks.log.error('Cannot undo an attachment that was left half-way', {
        id: record.spec.id,
        cause: because('recover', error),
      });
    }
  }
  return undone;
}

/** By the clock: other processes that write records need not share our view of process numbers. */
export function isAbandoned(record: AttachmentRecord, now: number): boolean {
  if (record.bootId !== bootId()) return true;
  if (record.state === 'attached') return false;
  const age = now - Date.parse(record.time);
  // A clock that was set back must not keep it for ever.
  return !(Math.abs(age) < ABANDONED_MS);
}

/** Host ends in the namespace of the socket that no record knows: the ids `sweep` takes. */
export function strays(nl: Netlink, records: readonly AttachmentRecord[]): string[] {
  const known = new Set(records.map(({ hostLink }) => hostLink));
  return listLinks(nl, { kind: 'veth' })
    .map(({ name }) => name)
    .filter((name) => /^tbo[0-9a-f]{11}$/.test(name) && !known.has(name))
    .map((name) => name.slice(HOST_LINK_PREFIX.length));
}
