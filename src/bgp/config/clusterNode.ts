import { type IP, type IPv4, parseIP, parseIPv4 } from '../../address/ip.ts';
import { internalIPs, type Node } from '../../store/kinds/node.ts';
import type { RemoteAs } from './router.ts';

/** Annotations of a Node as Calico has them. */
const AS_ANNOTATION = 'projectcalico.org/ASNumber';
const CLUSTER_ID_ANNOTATION = 'projectcalico.org/RouteReflectorClusterID';
/** Labels of a Node as TKE has them: the leaf's AS and address. Without the address, the leaf is the default gateway. */
const LEAF_AS_LABEL = 'infra.tce.io/as';
const LEAF_ADDRESS_LABEL = 'infra.tce.io/switch-ip';

/** The node's own addresses, at most one of each family. */
export function addressesOf(node: Node): IP[] {
  return internalIPs(node).map(parseIP);
}

/** The cluster of reflectors that the node belongs to; a node without one reflects nothing. */
export function clusterIdOf({ metadata }: Node): IPv4 | undefined {
  const written = metadata.annotations?.[CLUSTER_ID_ANNOTATION];
  try {
    return written === undefined || written === '' ? undefined : parseIPv4(written);
  } catch {
    return undefined;
  }
}

function asNumberOf(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0 && number <= 0xffffffff) return number;
  throw new SyntaxError(`Cannot parse AS number: expected 1 to 4294967295 (value ${JSON.stringify(text)})`);
}

/** The AS that the node itself is annotated with; what is no AS number counts as not written. */
export function annotatedAsn({ metadata }: Node): number | undefined {
  const number = Number(metadata.annotations?.[AS_ANNOTATION]);
  return Number.isInteger(number) && number > 0 && number <= 0xffffffff ? number : undefined;
}

/**
 * The leaf that the node's labels speak of; its address is that of the default gateway where they name none.
 *
 * @throws {SyntaxError} If a label is no AS number, or no address.
 */
export function leafOf({
  metadata,
}: Node): { readonly remoteAs: RemoteAs; readonly address?: IP } | undefined {
  const asn = metadata.labels?.[LEAF_AS_LABEL];
  const address = metadata.labels?.[LEAF_ADDRESS_LABEL];
  if (asn === undefined && address === undefined) return undefined;
  return {
    remoteAs: asn === undefined ? 'external' : asNumberOf(asn),
    ...(address !== undefined && { address: parseIP(address) }),
  };
}
