import { messageOf } from '../../errors.ts';
import { leafOf } from './clusterNode.ts';
import { neighbourDefaults } from './neighbourDefaults.ts';
import { BGP_PORT, type NeighbourConfig } from './router.ts';
import type { Standpoint } from './standpoint.ts';

/** The leaf that the node's labels speak of, if they do. */
export function leafNeighbour(standpoint: Standpoint): NeighbourConfig[] {
  const { self, here, problems } = standpoint;
  try {
    const named = self && leafOf(self);
    if (named === undefined) return [];
    const { remoteAs, address = here.gateways[0] } = named;
    if (address === undefined) throw new Error('there is no default route to take for it');
    const source = standpoint.addressFor(address);
    const leaf = { name: 'leaf', kind: 'leaf of the node', address, port: BGP_PORT, remoteAs };
    return [
      { ...neighbourDefaults(standpoint), ...leaf, ...(source !== undefined && { sourceAddress: source }) },
    ];
  } catch (error) {
    problems.push(`the leaf of the node's labels is ignored: ${messageOf(error)}`);
    return [];
  }
}
