import type { AdjRibIn } from './adjRibIn.ts';
import { type AttributeStore, readU32 } from './attributeStore.ts';
import type { FamilyRib } from './familyRib.ts';
import type { AttributeBlock } from './pathAttributes.ts';
import type { AnnouncedRange, NlriRange, PeerFamily } from './peer.ts';

/** Where the routes of one family of a session go. */
export interface Intake {
  readonly settings: Pick<PeerFamily, 'addPathReceive'>;
  readonly rib: Pick<FamilyRib, 'table'>;
  readonly routes: AdjRibIn;
}

/** What the routes of a message have in common: the attributes that were read from it, without next hop and NLRI. */
export interface ReadAttributes {
  readonly block: AttributeBlock;
  readonly store: AttributeStore;
}

/** Takes back the routes that these bytes of an UPDATE name. */
export function withdrawRange(message: Uint8Array, range: NlriRange, intake: Intake): void {
  eachNlri(message, range, intake, (pathId) => intake.routes.withdraw(pathId));
}

/** Enters the routes that these bytes of an UPDATE name. */
export function announceRange(
  message: Uint8Array,
  range: AnnouncedRange,
  intake: Intake,
  { block, store }: ReadAttributes,
): void {
  const { keys } = intake.rib.table;
  const nextHop = range.nextHop.end - range.nextHop.start;
  for (let at = 0; at < nextHop; at++) {
    block.bytes[block.length + at] = message[range.nextHop.start + at] as number;
  }
  const shared = keys.partial ? 0 : store.intern(block.bytes, block.length, nextHop, 0);
  eachNlri(message, range, intake, (pathId, start, end) => {
    if (shared !== 0) return intake.routes.announce(pathId, shared);
    for (let at = start; at < end; at++) {
      block.bytes[block.length + nextHop + at - start] = message[at] as number;
    }
    intake.routes.announce(pathId, store.intern(block.bytes, block.length, nextHop, end - start));
  });
}

function eachNlri(
  message: Uint8Array,
  { start, end }: NlriRange,
  { settings, rib }: Intake,
  visit: (pathId: number, start: number, end: number) => void,
): void {
  const { keys } = rib.table;
  const skip = settings.addPathReceive ? 4 : 0;
  for (let at = start; at + skip < end; ) {
    const size = keys.read(message, at + skip, end);
    if (size === 0) return;
    visit(skip === 0 ? 0 : readU32(message, at), at + skip, at + skip + size);
    at += skip + size;
  }
}
