import { type NodeNetwork, SEGMENT_PROTECTION } from '../store/kinds/nodeNetwork.ts';

/**
 * The object as it is protected while it has segments, and no longer: whoever deletes it, and then perhaps the `Node`, must
 * not take away what speaks for the addresses of pods that run on.
 *
 * @returns The very object if it is so already.
 */
export function guarded(network: NodeNetwork): NodeNetwork {
  const { finalizers = [], deletionTimestamp } = network.metadata;
  const is = finalizers.includes(SEGMENT_PROTECTION);
  const should = (network.spec.segments ?? []).length > 0;
  // An API server takes no new finalizer for an object that is being deleted.
  if (is === should || (should && deletionTimestamp !== undefined)) return network;
  const others = finalizers.filter((name) => name !== SEGMENT_PROTECTION);
  const metadata = { ...network.metadata, finalizers: should ? [...others, SEGMENT_PROTECTION] : others };
  return { ...network, metadata };
}
