import { messageOf } from '../errors.ts';
import { BindingError, type Subject } from '../ipam/binding.ts';
import { reasonToWait, wishOf } from '../ipam/claim.ts';
import { unboundAddresses, viewOf } from '../ipam/claimObject.ts';
import { type Explanation, explain } from '../ipam/explain.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { PoolUse } from '../operator/poolUse.ts';
import { ifThere } from '../store/ifThere.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import type { Store } from '../store/store.ts';
import { insistedOn } from './binding.ts';
import type { Cluster } from './cluster.ts';
import { poolReport } from './poolReport.ts';
import type { ExplainReport } from './reports.ts';

/** Why a pod has its addresses, or what would happen if it were attached to this node now. */
export async function explainReport(
  ipam: Ipam,
  { bindings, supply }: Pick<Cluster, 'bindings' | 'supply'>,
  store: Store,
  pod: { namespace: string; name: string },
): Promise<ExplainReport> {
  const [subject, uses, claim] = await Promise.all([
    bindings.subjectOf(pod),
    poolReport(store),
    ifThere(store.get('IPClaim', pod)),
  ]);
  const held = ipam
    .allocations()
    .filter((one) => one.pod?.namespace === pod.namespace && one.pod.name === pod.name);
  const pools = bindings.rules();
  const situation = { subject, pools, usage: ipam.usage(), held, shortage: supply.reason };
  const explanation = explain(situation);
  const { wish, refusal } = wished(subject.pod);
  const objection = held.length > 0 ? undefined : objectionTo(subject, ipam);
  const policy = claim?.spec.releasePolicy ?? wish?.policy;
  const drawn = new Set(explanation.families.flatMap((family) => family.pools));
  const use = uses.filter((one) => drawn.has(one.pool));
  return {
    pod: `${pod.namespace}/${pod.name}`,
    node: subject.node.name,
    ...explanation,
    ...(refusal !== undefined && { refused: refusal }),
    ...(objection !== undefined && { refused: objection, families: [] }),
    claim:
      policy === undefined
        ? undefined
        : {
            policy,
            addresses: claim?.status?.addresses ?? claim?.spec.addresses ?? [],
            outlook: claimOutlook(claim, subject.node.name, ipam),
          },
    use,
    advice: held.length > 0 ? [] : advise({ ...explanation, ...(objection && { refused: objection }) }, use),
  };
}

/** What stands against the addresses that the pod insists on, if it does. */
function objectionTo(subject: Subject, ipam: Ipam): string | undefined {
  try {
    const addresses = insistedOn(subject);
    return addresses.length === 0 ? undefined : ipam.objectionTo(addresses);
  } catch (error) {
    if (!(error instanceof BindingError)) throw error;
    return messageOf(error);
  }
}

function wished(pod: Parameters<typeof wishOf>[0] | undefined) {
  try {
    return { wish: pod && wishOf(pod), refusal: undefined };
  } catch (error) {
    if (!(error instanceof BindingError)) throw error;
    return { wish: undefined, refusal: messageOf(error) };
  }
}

function claimOutlook(claim: IPClaim | undefined, node: string, ipam: Ipam): string {
  if (claim === undefined) return 'the first pod of this name gets addresses that are its own from then on';
  if (unboundAddresses(claim).length > 0) {
    const told = claim.status?.conditions?.find(({ type }) => type === 'Bound')?.message;
    return `its addresses are not set aside yet${told === undefined ? '' : `: ${told}`}`;
  }
  const { holder } = viewOf(claim);
  if (holder === undefined) return 'nobody holds its addresses: the next pod of this name gets them';
  const heldHere = (container: string) =>
    ipam.allocations().some(({ owner }) => owner.containerID === container);
  const wait = reasonToWait({ holder }, { node, container: '' }, 'present', heldHere);
  return wait === undefined
    ? 'its last container is gone: the next pod of this name gets them'
    : `container ${holder.container.slice(0, 12)} on node ${holder.node} holds its addresses; another pod of this name waits until it lets go`;
}

/** For a pod without address: what lacks, and what would help. */
function advise({ refused, families }: Explanation, uses: readonly PoolUse[]): string[] {
  if (refused !== undefined) return ['correct the annotation, or make what it names: pool or free address'];
  const dry = families.filter(({ segments }) => segments.every(({ free }) => free === '0'));
  return dry.flatMap(({ family, pools, bound }) => {
    if (pools.length === 0) {
      return bound
        ? []
        : [
            `make an IPv${family} pool whose nodeSelector selects this node, if the pod is to have such an address`,
          ];
    }
    return uses.filter(({ pool }) => pools.includes(pool)).map(adviseOnPool);
  });
}

function adviseOnPool({
  pool,
  cidr,
  blockSize,
  free,
  total,
  used,
  capacity,
  cooling,
  nodes,
  freeRanges,
}: PoolUse): string {
  if (free !== '0')
    return `pool ${pool} has ${free} of ${total} blocks of /${blockSize} free (${freeRanges.join(', ')}): the operator gives this node one as soon as an ADD asks`;
  const idle = BigInt(capacity) - BigInt(used);
  const scattered = idle > 0n ? ` although ${idle} addresses are free in blocks of ${nodes} nodes` : '';
  const soon = cooling > 0 ? `${cooling} blocks are resting and come back by themselves; ` : '';
  return `pool ${pool} (${cidr}) has no block of /${blockSize} left${scattered}: ${soon}enlarge its cidr, add a pool beside it, or give the next one smaller blocks (tombolo ipam simulate shows what that does)`;
}
