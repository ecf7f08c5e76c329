import { formatIP, type IP, parseIP } from '../address/ip.ts';
import { nobodysIn } from '../address/nobodys.ts';
import {
  contains,
  covers,
  formatPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
  prefixFamily,
} from '../address/prefix.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import { type IPPool, type PoolShape, shapeOf } from '../store/kinds/ipPool.ts';
import { internalIPs, type Node } from '../store/kinds/node.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';

/** What speaks for or against a change of pools. */
export interface PoolFacts {
  readonly pools: readonly IPPool[];
  readonly networks: readonly NodeNetwork[];
  readonly claims: readonly IPClaim[];
  readonly nodes: readonly Node[];
  readonly configurations: readonly BGPConfiguration[];
}

/** Why a change must not be made, and what to do instead. */
export interface PoolRefusal {
  readonly reason: string;
  readonly advice: string;
}

/** How many names a sentence takes. */
const NAMES_SHOWN = 5;

/**
 * Why a pool must not become what it is to become, or undefined if it may.
 *
 * @param before What is in force; undefined for a new pool.
 * @param after What is wanted; undefined if it is to be deleted.
 */
export function refusePool(
  name: string,
  before: PoolShape | undefined,
  after: IPPool | undefined,
  facts: PoolFacts,
): PoolRefusal | undefined {
  if (after === undefined) {
    const use = useOf(name, before, facts);
    return use && refuseDeletion(name, use);
  }
  const shape = shapeOf(after.spec);
  if (before?.cidr === shape.cidr && before.blockSize === shape.blockSize) return undefined;
  const refusal = refuseRange(name, after, facts);
  if (refusal !== undefined || before === undefined) return refusal;
  const use = useOf(name, before, facts);
  return use && refuseReshaping(name, before, shape, use);
}

/** What holds on to a pool. */
interface PoolUse {
  readonly blocks: readonly { readonly node: string; readonly cidr: Prefix; readonly used: number }[];
  readonly claims: readonly { readonly key: string; readonly address: IP }[];
}

function useOf(name: string, shape: PoolShape | undefined, facts: PoolFacts): PoolUse | undefined {
  const blocks = facts.networks.flatMap(({ metadata, spec, status }) =>
    (spec.segments ?? [])
      .filter(({ pool }) => pool === name)
      .map(({ cidr }) => ({
        node: metadata.name,
        cidr: parsePrefix(cidr),
        used: status?.segments?.find((one) => one.cidr === cidr)?.used ?? 0,
      })),
  );
  const range = shape && parsePrefix(shape.cidr);
  const claims = facts.claims.flatMap(({ metadata, status }) =>
    (status?.addresses ?? [])
      .map(parseIP)
      .filter((address) => range && contains(range, address))
      .map((address) => ({ key: `${metadata.namespace}/${metadata.name}`, address })),
  );
  return blocks.length + claims.length > 0 ? { blocks, claims } : undefined;
}

function refuseDeletion(name: string, use: PoolUse): PoolRefusal {
  return {
    reason: describeUse(use),
    advice: `set spec.disabled: true, which gives out nothing more and asks every empty block back; replace the pods that are left (tombolo ipam show says who), and delete pool ${name} when it holds nothing`,
  };
}

function refuseReshaping(
  name: string,
  before: PoolShape,
  after: PoolShape,
  use: PoolUse,
): PoolRefusal | undefined {
  const second = `make a second pool as you want this one to be, apart from ${before.cidr}; set spec.disabled: true on ${name}, replace its pods, and delete it when it holds nothing (tombolo ipam simulate shows what that does)`;
  if (before.blockSize !== after.blockSize && use.blocks.length > 0) {
    const reason = `blockSize is ${before.blockSize} and cannot become ${after.blockSize}: ${describeUse(use)}`;
    return { reason, advice: second };
  }
  const range = parsePrefix(after.cidr);
  const blocks = use.blocks.filter(({ cidr }) => !covers(range, cidr));
  const claims = use.claims.filter(({ address }) => !contains(range, address));
  if (blocks.length + claims.length === 0) return undefined;
  const reason = `${after.cidr} leaves out part of ${before.cidr} that is in use: ${describeUse({ blocks, claims })}`;
  return { reason, advice: second };
}

function refuseRange(name: string, after: IPPool, facts: PoolFacts): PoolRefusal | undefined {
  const range = parsePrefix(after.spec.cidr);
  const text = formatPrefix(range);
  const apart = 'choose a range that is nobody else’s';
  const nobodys = nobodysIn(range);
  if (nobodys)
    return { reason: `${text} overlaps ${formatPrefix(nobodys)}, which no pod can have`, advice: apart };
  for (const { metadata, spec, status } of facts.pools) {
    const other = status?.inForce?.cidr ?? spec.cidr;
    if (metadata.name === name || !overlaps(parsePrefix(other), range)) continue;
    return {
      reason: `${text} overlaps ${other} of pool ${metadata.name}: the same address would be given out twice`,
      advice: `${apart}, or delete pool ${metadata.name} first`,
    };
  }
  return refuseUnderlay(after, range, facts);
}

/** Addresses of nodes may lie in a pool that reserves them: NIC pods share a link with nodes. */
function refuseUnderlay(after: IPPool, range: Prefix, facts: PoolFacts): PoolRefusal | undefined {
  const reserved = (after.spec.reserved ?? []).map(parsePrefix);
  for (const node of facts.nodes) {
    const hit = internalIPs(node)
      .map(parseIP)
      .find((one) => contains(range, one) && !reserved.some((prefix) => contains(prefix, one)));
    if (hit === undefined) continue;
    return {
      reason: `${formatPrefix(range)} contains ${formatIP(hit)}, the address of node ${node.metadata.name}`,
      advice: `choose a range apart from the nodes', or list the nodes' addresses in spec.reserved`,
    };
  }
  if (after.spec.allowedUses?.every((use) => use === 'LoadBalancer')) return undefined;
  const services = facts.configurations
    .flatMap(({ spec }) => spec.serviceClusterIPs ?? [])
    .map(({ cidr }) => parsePrefix(cidr))
    .find((one) => prefixFamily(one) === prefixFamily(range) && overlaps(one, range));
  return (
    services && {
      reason: `${formatPrefix(range)} overlaps ${formatPrefix(services)}, the services' range`,
      advice: 'choose a range apart from the services’',
    }
  );
}

function describeUse({ blocks, claims }: PoolUse): string {
  const parts: string[] = [];
  if (blocks.length > 0) {
    const nodes = [...new Set(blocks.map(({ node }) => node))].sort();
    const used = blocks.reduce((sum, block) => sum + block.used, 0);
    parts.push(
      `${plural(nodes.length, 'node')} ${listed(nodes)} hold ${plural(blocks.length, 'block')} of it with ${plural(used, 'address', 'addresses')} in use`,
    );
  }
  if (claims.length > 0) {
    const keys = [...new Set(claims.map(({ key }) => key))].sort();
    parts.push(`${plural(keys.length, 'claim')} ${listed(keys)} keep addresses of it`);
  }
  return parts.join(', and ');
}

function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function listed(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN;
  const shown = names.slice(0, NAMES_SHOWN).join(', ');
  return `(${more > 0 ? `${shown} and ${more} more` : shown})`;
}
