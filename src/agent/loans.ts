import { CniError, CODE } from '../../cni/protocol/error.ts';
import { formatIP } from '../address/ip.ts';
import { parsePrefix, prefixFamily, prefixSize } from '../address/prefix.ts';
import { sizeOf } from '../address/ranges.ts';
import { attachmentId } from '../attach/attachment.ts';
import type { Clock } from '../clock.ts';
import type { Routing } from '../datapath/tunnelPlan.ts';
import { messageOf } from '../errors.ts';
import { type Allocation, Refusal } from '../ipam/allocator.ts';
import { bar, type PoolRule, type Source, type Subject } from '../ipam/binding.ts';
import { BOUND, boundAddresses, newLoan } from '../ipam/claimObject.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import type { NodeNetwork, NodeSegment } from '../store/kinds/nodeNetwork.ts';
import { isStoreError, type Store } from '../store/store.ts';
import type { ClaimHolders, ClaimRequest } from './claimHolders.ts';
import type { Claims } from './claims.ts';

/** So long an ADD waits for another node to lend it an address, in ms. */
const PATIENCE_MS = 5_000;
/** So many nodes are asked at most by one ADD, those with the most free addresses first. */
const LENDERS = 2;
/** Who has lent nothing is asked after all others for so long, in ms: several of kubelet's attempts. */
const DOUBT_MS = 300_000;

export interface LoansParts {
  readonly claims: Claims;
  readonly holders: Pick<ClaimHolders, 'hold'>;
  readonly store: Store;
  readonly node: string;
  readonly rules: () => readonly PoolRule[];
  /** How this node is reached: only a node that is reached likewise can lend it anything. */
  readonly routing: Routing;
  /** Why addresses of a pool may not be borrowed here, undefined if they may. */
  readonly reasonNotToBorrow: (pool: PoolRule, subject: Subject, onLink: boolean) => string | undefined;
  /** What the nodes have said last. It may be late: a node that has nothing to lend any more says so when it is asked. */
  readonly networks: () => Promise<readonly NodeNetwork[]>;
  /** Those of these nodes that are there. */
  readonly living: (nodes: readonly string[]) => Promise<string[]>;
  readonly clock: Clock;
  /** So long an ADD waits, in ms. */
  readonly patience?: number;
}

/** An ADD of an ordinary pod on a node that has no address for it. */
export type LoanRequest = Omit<ClaimRequest, 'key' | 'draw' | 'besides'>;

/**
 * Single addresses of other nodes' blocks, for pods of a node that cannot have another block. A loan is a claim of one
 * container: the borrower makes it and names the lender, the lender sets an address of its own aside for it, in its
 * journal first, and from then on it is held, passed through, announced and let go of as any claimed address is.
 */
export class Loans {
  readonly #parts: LoansParts;
  /** Until when it is doubted that these nodes lend, on the monotonic clock. */
  readonly #doubted = new Map<string, number>();

  constructor(parts: LoansParts) {
    this.#parts = parts;
  }

  /**
   * @param short What the node lacks.
   * @throws {CniError} Code 11 if nobody lends, 7 if it is not to be.
   */
  async borrow(request: LoanRequest, short: Source): Promise<Allocation> {
    const verb = `Cannot borrow an IPv${short.family} address for pod ${request.pod.namespace}/${request.pod.name}`;
    const pools = this.#poolsOf(request, short, verb);
    try {
      const lenders = await this.#lenders(request, pools, short);
      let refusal = `no other node has a free address of pool ${pools.map(({ name }) => name).join(' or ')}`;
      for (const lender of lenders) {
        const claim = await this.#ask(request, short, lender);
        const granted = await this.#answer(claim);
        if (typeof granted !== 'string') {
          this.#doubted.delete(lender.node);
          return await this.#hold(request, short, granted);
        }
        this.#doubted.set(lender.node, this.#parts.clock.monotonic() + DOUBT_MS);
        refusal = `node ${lender.node} does not lend one: ${granted}`;
      }
      throw new CniError(CODE.tryAgainLater, `${verb}: ${refusal}`);
    } catch (error) {
      if (!isStoreError(error, 'Unavailable', 'Invalid', 'Conflict', 'NotFound')) throw error;
      throw new CniError(CODE.tryAgainLater, `${verb}: ${messageOf(error)}`);
    }
  }

  /** @throws {CniError} If there is none that may be borrowed from. */
  #poolsOf({ terms, onLink }: LoanRequest, { family, pools }: Source, verb: string): PoolRule[] {
    const known = this.#parts
      .rules()
      .filter(({ name, cidr }) => pools.includes(name) && prefixFamily(cidr) === family);
    const against = (rule: PoolRule) =>
      bar(rule, terms.subject) ?? this.#parts.reasonNotToBorrow(rule, terms.subject, onLink);
    const open = known.filter((rule) => against(rule) === undefined);
    if (open.length > 0) return open;
    const [first] = known;
    const reason = first ? against(first) : 'no pool is open to it here';
    throw new CniError(CODE.tryAgainLater, `${verb}: ${reason}`);
  }

  /**
   * Those to be asked, in this order: who has lent to this container already, who is not known to refuse, who has most. A node
   * that goes on refusing, whatever it says of its free addresses, so keeps no attempt after the next from the others.
   */
  async #lenders(
    { pod, owner }: LoanRequest,
    pools: readonly PoolRule[],
    { family }: Source,
  ): Promise<Lender[]> {
    const { claims, networks, node, routing } = this.#parts;
    const rank = (from: string) => {
      const claim = claims.get(`${pod.namespace}/${loanName(owner, from)}`);
      if (claim !== undefined && boundAddresses(claim).length > 0) return 0;
      return this.#isDoubted(from) ? 2 : 1;
    };
    const able = (await networks())
      .filter(({ metadata, status }) => metadata.name !== node && (status?.routing ?? 'underlay') === routing)
      .flatMap((network) => pools.map(({ name }) => lenderOf(network, name, family)))
      .filter(({ free }) => free > 0n)
      .sort((a, b) => rank(a.node) - rank(b.node) || (a.free > b.free ? -1 : 1));
    return this.#firstAlive(able);
  }

  /** Whether a node is there takes a request; nearly all are, so that there are few requests. */
  async #firstAlive(able: readonly Lender[]): Promise<Lender[]> {
    const found: Lender[] = [];
    for (let at = 0; at < able.length && found.length < LENDERS; at += LENDERS) {
      const next = able.slice(at, at + LENDERS);
      const alive = await this.#parts.living(next.map((one) => one.node));
      found.push(...next.filter((one) => alive.includes(one.node)));
    }
    return found.slice(0, LENDERS);
  }

  #isDoubted(node: string): boolean {
    const until = this.#doubted.get(node);
    if (until === undefined || this.#parts.clock.monotonic() < until) return until !== undefined;
    this.#doubted.delete(node);
    return false;
  }

  async #ask(
    { pod, owner }: LoanRequest,
    { family }: Source,
    { node: from, pool }: Lender,
  ): Promise<IPClaim> {
    const { store, node: to } = this.#parts;
    const name = loanName(owner, from);
    const loan = { family, from, to, container: owner.containerID };
    try {
      return await store.create(newLoan({ ...pod, name }, pool, loan, pod.name));
    } catch (error) {
      if (!isStoreError(error, 'AlreadyExists')) throw error;
      return store.get('IPClaim', { namespace: pod.namespace, name });
    }
  }

  /** The claim once it has an address, or why it gets none. */
  async #answer(asked: IPClaim): Promise<IPClaim | string> {
    const { claims, clock, store, patience = PATIENCE_MS } = this.#parts;
    const { namespace, name } = asked.metadata;
    const key = `${namespace}/${name}`;
    for (const end = clock.monotonic() + patience; ; ) {
      const claim = claims.get(key) ?? asked;
      if (boundAddresses(claim).length > 0) return store.get('IPClaim', { namespace, name });
      const refused = claim.status?.conditions?.find(
        ({ type, status }) => type === BOUND && status === 'False',
      );
      if (refused) return refused.message ?? 'it says no';
      const left = end - clock.monotonic();
      if (left <= 0) return 'it has not answered';
      await claims.news(left);
    }
  }

  async #hold(request: LoanRequest, short: Source, claim: IPClaim): Promise<Allocation> {
    const { namespace, name } = claim.metadata;
    const { terms } = request;
    const besides = terms.sources.filter(({ family }) => family !== short.family);
    try {
      return await this.#parts.holders.hold({
        ...request,
        key: `${namespace}/${name}`,
        terms: { ...terms, claim, wish: undefined },
        besides,
        draw: () => Promise.reject(new Error(`Cannot draw for loan ${namespace}/${name}: it has an address`)),
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const addresses = boundAddresses(claim).map(formatIP).join(', ');
      throw new CniError(CODE.tryAgainLater, `Cannot use ${addresses}, which is borrowed: ${error.message}`);
    }
  }
}

interface Lender {
  readonly node: string;
  readonly pool: string;
  readonly free: bigint;
}

/** What a node has said of its segments of a pool, as far as that is about their present state. */
function lenderOf({ metadata, spec, status }: NodeNetwork, pool: string, family: number): Lender {
  const freeIn = (segment: NodeSegment): bigint => {
    const { cidr, state = 'active', generation = 1, gateway, reserved = [] } = segment;
    const prefix = parsePrefix(cidr);
    const mine = segment.pool === pool && state === 'active' && prefixFamily(prefix) === family;
    const report = status?.segments?.find((one) => one.cidr === cidr && one.generation === generation);
    if (!mine || !report || gateway !== undefined) return 0n;
    return prefixSize(prefix) - sizeOf(reserved.map(parsePrefix)) - BigInt(report.used ?? 0);
  };
  const free = (spec.segments ?? []).map(freeIn).reduce((sum, one) => sum + one, 0n);
  return { node: metadata.name, pool, free };
}

/** One for each container and lender: an ADD that is tried again finds what it was lent. */
function loanName({ containerID, ifName }: { containerID: string; ifName: string }, from: string): string {
  return `loan-${attachmentId(`${containerID}/${ifName}`, from)}`;
}
