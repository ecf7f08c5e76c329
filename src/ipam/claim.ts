import { BindingError } from './binding.ts';

/** When the addresses of a claim become anybody's again. */
export type ReleasePolicy = 'Pod' | 'Immutable' | 'Never';

/** Who holds the addresses of a claim: identity is the container, never the pod's name. */
export interface Holder {
  readonly node: string;
  readonly container: string;
  readonly podUID?: string | undefined;
}

/** An `IPClaim`, as far as decisions need it. */
export interface ClaimView {
  readonly name: string;
  readonly policy: ReleasePolicy;
  readonly ttlSeconds: number | undefined;
  readonly owner: ClaimOwner;
  readonly holder: Holder | undefined;
  /** The UID of the last pod that held it. */
  readonly podUID: string | undefined;
  /** Wall time in ms; undefined where nobody has held it yet, or somebody does. */
  readonly releasedAt: number | undefined;
  /** A loan to one container: nobody else ever comes for it. */
  readonly lent: boolean;
}

export interface ClaimOwner {
  readonly kind: string;
  readonly name: string;
  readonly uid?: string | undefined;
}

/** What a pod's annotations ask for: addresses that outlive it. */
export interface ClaimWish {
  readonly policy: ReleasePolicy;
  readonly owner: ClaimOwner;
  readonly ttlSeconds: number | undefined;
}

export interface ClaimingPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** Its controller, as `metadata.ownerReferences` has it. */
  readonly controller?: ClaimOwner | undefined;
}

/** Ours, and the one that galaxy's users have on their pods already. */
const POLICY_ANNOTATIONS = ['network.tombolo.dev/release-policy', 'k8s.v1.cni.galaxy.io/release-policy'];
const TTL_ANNOTATION = 'network.tombolo.dev/release-after-seconds';

const POLICIES: Readonly<Record<string, ReleasePolicy>> = {
  '': 'Pod',
  pod: 'Pod',
  immutable: 'Immutable',
  never: 'Never',
};

/** Their pods are named anew each time: nobody would ever come back for the address. */
const NAMELESS = ['ReplicaSet', 'ReplicationController', 'Job', 'DaemonSet'];

/**
 * The claim that a pod asks for by annotation; undefined where it asks for none.
 *
 * @throws {BindingError} If the annotation is none of the policies, or the pod's name will not come again.
 */
export function wishOf(pod: ClaimingPod): ClaimWish | undefined {
  const annotation = POLICY_ANNOTATIONS.find((name) => pod.annotations[name] !== undefined);
  if (annotation === undefined) return undefined;
  const text = pod.annotations[annotation] ?? '';
  const verb = `Cannot fix the address of pod ${pod.namespace}/${pod.name}`;
  const policy = Object.hasOwn(POLICIES, text.toLowerCase()) ? POLICIES[text.toLowerCase()] : undefined;
  if (policy === undefined) {
    throw new BindingError(
      `${verb}: annotation ${annotation} must be pod, immutable or never (value ${JSON.stringify(text)})`,
    );
  }
  const { controller } = pod;
  if (controller && NAMELESS.includes(controller.kind)) {
    const advice = `bind its namespace to a pool of its own instead, or use a StatefulSet`;
    throw new BindingError(
      `${verb}: pods of a ${controller.kind} have a new name each time; ${advice} (value ${controller.name})`,
    );
  }
  const owner = controller ?? { kind: 'Pod', name: pod.name, uid: pod.uid };
  return { policy, owner, ttlSeconds: secondsOf(pod.annotations[TTL_ANNOTATION], verb) };
}

function secondsOf(text: string | undefined, verb: string): number | undefined {
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (/^\d{1,9}$/.test(text)) return seconds;
  throw new BindingError(
    `${verb}: annotation ${TTL_ANNOTATION} must be a number of seconds (value ${JSON.stringify(text)})`,
  );
}

/** What is known about the node that a claim's holder is on. */
export type HolderNode = 'present' | 'gone' | 'out of service';

/** The taint by which people say that a node is off for good (Kubernetes 1.28: non-graceful node shutdown). */
export const OUT_OF_SERVICE = 'node.kubernetes.io/out-of-service';

/**
 * Why a container must wait for the addresses of a claim, or undefined if it may take them. There is never a second
 * holder: the first must have let go, or be proved dead.
 *
 * @param heldHere Whether a container of the asker's own node holds them, or is still being taken down.
 */
export function reasonToWait(
  { holder }: Pick<ClaimView, 'holder'>,
  asker: Holder,
  node: HolderNode,
  heldHere: (container: string) => boolean,
): string | undefined {
  if (holder === undefined) return undefined;
  const container = holder.container.slice(0, 12);
  if (holder.node === asker.node) {
    if (holder.container === asker.container || !heldHere(holder.container)) return undefined;
    return `container ${container} of this node has not let go of it: an earlier pod of this name is still being removed`;
  }
  if (node === 'out of service') return undefined;
  if (node === 'gone') {
    return `container ${container} was on node ${holder.node}, which is gone; the operator takes it for dead when its agent has not answered for a while`;
  }
  return `container ${container} on node ${holder.node} has not let go of it: an earlier pod of this name is still being removed there; if that node is dead, delete its Node or taint it ${OUT_OF_SERVICE}`;
}

/** What the cluster says of those a claim is kept for. */
export interface Surroundings {
  /** The UID of the pod of the claim's name, '' if it has none; undefined where there is proof that there is no pod. */
  readonly pod: string | undefined;
  /** `unknown` where nobody can tell: an owner of a kind that we cannot read. */
  readonly owner: 'present' | 'absent' | 'unknown';
}

/**
 * Why a claim is over, or undefined while it is to be kept. Nothing that is held ends, and nothing on mere suspicion; what
 * was never held only if it names its owner by UID: such a one does not come again.
 *
 * @param now Wall time in ms. A clock that was set back keeps a claim longer, never shorter.
 */
export function reasonToEnd(claim: ClaimView, surroundings: Surroundings, now: number): string | undefined {
  const { holder, releasedAt, policy, ttlSeconds, owner } = claim;
  if (holder !== undefined || !mayEnd(claim)) return undefined;
  if (claim.lent) return 'it was lent to a container that does not hold it';
  if (ttlSeconds !== undefined && releasedAt !== undefined) {
    const seconds = Math.floor(Math.max(0, now - releasedAt) / 1000);
    if (seconds >= ttlSeconds) {
      return `nobody has held it for ${seconds} s, and ttlSeconds is ${ttlSeconds}`;
    }
  }
  if (policy === 'Pod' && surroundings.pod === undefined) return `pod ${claim.name} is gone`;
  const uid = claim.podUID ?? (owner.kind === 'Pod' ? owner.uid : undefined);
  const recreated = uid !== undefined && surroundings.pod !== '' && uid !== surroundings.pod;
  if (policy === 'Pod' && recreated) return `pod ${claim.name} has been made anew`;
  if (policy === 'Immutable' && surroundings.owner === 'absent') {
    return `its owner ${owner.kind} ${owner.name} is gone, or has no such pod any more`;
  }
  return undefined;
}

/** Whether it is worth asking who is left to come back for a claim that nobody holds. */
export function mayEnd({
  releasedAt,
  owner,
  lent,
}: Pick<ClaimView, 'releasedAt' | 'owner' | 'lent'>): boolean {
  return lent || releasedAt !== undefined || owner.uid !== undefined;
}

/** Whether a StatefulSet, if it is the one that is meant, has a pod of this name. */
export function hasPod(
  set: { readonly uid: string | undefined; readonly replicas: number; readonly first: number } | undefined,
  owner: ClaimOwner,
  podName: string,
): boolean {
  if (set === undefined || (owner.uid !== undefined && set.uid !== undefined && owner.uid !== set.uid)) {
    return false;
  }
  const ordinal = /-(\d+)$/.exec(podName)?.[1];
  if (ordinal === undefined || !podName.startsWith(`${owner.name}-`)) return true;
  const index = Number(ordinal) - set.first;
  return index >= 0 && index < set.replicas;
}

export interface Borrowing {
  /** Of the pool that the address lies in; undefined where it lies in none. */
  readonly pool:
    | { readonly name: string; readonly disableBGPExport: boolean; readonly selectsNode: boolean }
    | undefined;
  readonly node: string;
  readonly strictAffinity: boolean;
  readonly routing: 'underlay' | 'overlay';
  /** How the node is reached whose block the address is of; undefined where there is none, or it is not known yet. */
  readonly blockRouting: 'underlay' | 'overlay' | undefined;
  /** Whether this node tells anybody where addresses are. */
  readonly announces: boolean;
  /** The interface stands on a link with others, whose address it would be. */
  readonly onLink: boolean;
}

/** Why an address of another node's block would be black-holed here, or undefined if it can be announced. */
export function reasonNotToBorrow(borrowing: Borrowing): string | undefined {
  const { pool, node, strictAffinity, routing, blockRouting, announces, onLink } = borrowing;
  if (pool === undefined) return 'it lies in no pool, and nothing outside the pools is announced';
  if (strictAffinity)
    return 'IPAMConfiguration strictAffinity is true: addresses stay with the node of their block';
  if (!pool.selectsNode) return `pool ${pool.name} does not select node ${node}`;
  if (onLink) return 'a NIC has an address of its own link';
  if (routing === 'overlay') {
    return blockRouting === 'underlay'
      ? 'the node of its block is in the underlay: the network sends packets for it there, and not into a tunnel'
      : undefined;
  }
  if (pool.disableBGPExport) return `pool ${pool.name} has disableBGPExport: nobody would learn where it is`;
  if (!announces) return 'BGP is off on this node: nobody would learn where it is';
  return undefined;
}
