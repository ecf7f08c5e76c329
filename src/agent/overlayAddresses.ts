import { type Family, familyOf, type IP } from '../address/ip.ts';
import { addressAt, contains, prefixFamily, prefixSize } from '../address/prefix.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Segment } from '../ipam/segment.ts';

/** Under this name the node holds addresses itself; no container is called so. */
export const NODE_ITSELF = {
  containerID: 'this-node',
  ifName: 'tbvxlan',
  network: 'tombolo-overlay',
} as const;

/** So many addresses of a segment are looked at for a free one. */
const SEARCHED = 4096;

/**
 * The node's own addresses in the overlay, of each family that it has segments of: the first of its first segment, where no
 * pod was quicker. One that the node has stays until its segment is given back.
 */
export function chooseOverlayAddresses(
  segments: readonly Segment[],
  held: readonly IP[],
  taken: (address: IP) => boolean,
): IP[] {
  const usable = segments.filter(({ state, gateway }) => state === 'active' && gateway === undefined);
  const choose = (family: Family) => {
    const own = usable.filter(({ prefix }) => prefixFamily(prefix) === family);
    const kept = held.find((address) => own.some(({ prefix }) => contains(prefix, address)));
    return kept ?? own.map((segment) => firstFree(segment, taken)).find((address) => address !== undefined);
  };
  return ([4, 6] as const).map(choose).filter((address) => address !== undefined);
}

/** Has the journal hold them, so that no pod is given one and they are the same after a restart. */
export async function holdOverlayAddresses(ipam: Ipam): Promise<IP[]> {
  const held = ipam.heldBy(NODE_ITSELF)?.addresses ?? [];
  const others = new Set([
    ...ipam.allocations().flatMap(({ addresses }) => addresses),
    ...ipam.kept().keys(),
  ]);
  const wanted = chooseOverlayAddresses(
    ipam.segments(),
    held,
    (address) => others.has(address) || !ipam.usable(address),
  );
  if (held.length === wanted.length && wanted.every((address) => held.includes(address))) return wanted;
  if (held.length > 0) await ipam.release(NODE_ITSELF);
  if (wanted.length > 0) await ipam.allocate({ owner: NODE_ITSELF, addresses: wanted });
  return wanted.sort((a, b) => familyOf(a) - familyOf(b));
}

export async function freeOverlayAddresses(ipam: Ipam): Promise<void> {
  if (ipam.heldBy(NODE_ITSELF) !== undefined) await ipam.release(NODE_ITSELF);
}

function firstFree({ prefix }: Segment, taken: (address: IP) => boolean): IP | undefined {
  const size = Number(prefixSize(prefix) < BigInt(SEARCHED) ? prefixSize(prefix) : SEARCHED);
  for (let index = 0; index < size; index++) {
    const address = addressAt(prefix, index);
    if (!taken(address)) return address;
  }
  return undefined;
}
