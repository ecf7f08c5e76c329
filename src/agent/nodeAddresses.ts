import { type Family, familyOf, type IP } from '../address/ip.ts';

/**
 * The node's addresses, at most one of each family. One that it has had stays its address while it is assigned, and also while there
 * is no other: a link that is down for a moment takes IPv6 addresses with it.
 *
 * @param pinned What the configuration says: they come first, and there are no others of their families.
 * @param former What they were.
 * @param assigned Global addresses that may be the node's, the best first.
 */
export function chooseAddresses(
  pinned: readonly IP[],
  former: readonly IP[],
  assigned: readonly IP[],
): readonly IP[] {
  const choose = (family: Family) => {
    const isOf = (address: IP) => familyOf(address) === family;
    const told = pinned.find(isOf);
    const before = former.find(isOf);
    if (told !== undefined) return told;
    return before !== undefined && assigned.includes(before) ? before : (assigned.find(isOf) ?? before);
  };
  const chosen = [...pinned.slice(0, 1), choose(4), choose(6)].filter((address) => address !== undefined);
  return [...new Set(chosen)];
}
