import { type IP, type IPv4, isIPv4, parseIP, parseIPv4 } from '../../address/ip.ts';
import { parsePeerAddress } from '../../store/kinds/bgpValues.ts';
import { internalIPs, type Node } from '../../store/kinds/node.ts';
import type { RemoteAs } from './router.ts';

/** Annotations of a Node as Calico has them. */
const AS_ANNOTATION = 'projectcalico.org/ASNumber';
const CLUSTER_ID_ANNOTATION = 'projectcalico.org/RouteReflectorClusterID';
/**
 * Ours: makes the node a reflector for the whole cluster, in the place of the mesh. The value is the identifier of its
 * cluster of reflectors; anything else gives it one of its own.
 */
const REFLECTOR_LABEL = 'network.tombolo.dev/route-reflector';
/** Labels of a Node as TKE has them: the leaf's AS and address. Without the address, the leaf is the default gateway. */
const LEAF_AS_LABEL = 'infra.tce.io/as';
const LEAF_ADDRESS_LABEL = 'infra.tce.io/switch-ip';

/** The node's own addresses, at most one of each family. */
export function addressesOf(node: Node): IP[] {
  return internalIPs(node).map(parseIP);
}

/** The node's IPv4 address; on a node without one, bits of its IPv6 address: unique enough, and never 0. */
export function routerIdOf(node: Node | undefined): IPv4 {
  const addresses = node === undefined ? [] : addressesOf(node);
  const ipv4 = addresses.find(isIPv4);
  if (ipv4 !== undefined) return ipv4;
  const [ipv6 = 1n] = addresses.filter((one) => !isIPv4(one)) as bigint[];
  const folded = Number((ipv6 ^ (ipv6 >> 32n) ^ (ipv6 >> 64n) ^ (ipv6 >> 96n)) & 0xffffffffn);
  return (folded === 0 ? 1 : folded) as IPv4;
}

/** Whether the node reflects for all others. */
export function isReflector({ metadata }: Node): boolean {
  const label = metadata.labels?.[REFLECTOR_LABEL];
  return label !== undefined && label !== 'false';
}

/** The cluster of reflectors that the node belongs to; a node without one reflects nothing. */
export function clusterIdOf(node: Node): IPv4 | undefined {
  const annotated = identifierFrom(node.metadata.annotations?.[CLUSTER_ID_ANNOTATION]);
  if (annotated !== undefined || !isReflector(node)) return annotated;
  return identifierFrom(node.metadata.labels?.[REFLECTOR_LABEL]) ?? routerIdOf(node);
}

function identifierFrom(written: string | undefined): IPv4 | undefined {
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
    ...(address !== undefined && { address: parsePeerAddress(address).address }),
  };
}
