import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CniError, CODE } from '../../cni/protocol/error.ts';
import { parseIP } from '../address/ip.ts';
import type { Clock } from '../clock.ts';
import { Refusal } from '../ipam/allocator.ts';
import type { Source } from '../ipam/binding.ts';
import { withBound } from '../ipam/claimObject.ts';
import { poolRule } from '../ipam/poolRule.rig.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import type { NodeNetwork, NodeSegment } from '../store/kinds/nodeNetwork.ts';
import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { MemoryStore } from '../store/memory.rig.ts';
import { keyOf, StoreError } from '../store/store.ts';
import type { ClaimRequest } from './claimHolders.ts';
import { Claims } from './claims.ts';
import { type LoanRequest, Loans, type LoansParts } from './loans.ts';

const BORROWER = 'here';
const SHORT: Source = { family: 4, bound: false, pools: ['rack'], why: 'open' };
const SIX: Source = { family: 6, bound: false, pools: [], why: 'open' };
const LENT = '10.0.1.7';

const RACK = poolRule('rack', '10.0.0.0/16');

const REQUEST: LoanRequest = {
  pod: { namespace: 'shop', name: 'web', uid: 'u' },
  owner: { containerID: 'c1', ifName: 'eth0', network: 'pods' },
  terms: {
    sources: [SHORT, SIX],
    addresses: [],
    wish: undefined,
    claim: undefined,
    subject: { node: { name: BORROWER, labels: {} } },
  },
  onLink: false,
};

/** What a lender makes of a claim, or nothing if it is silent. */
type Answer = (claim: IPClaim) => IPClaim | undefined;

const lends: Answer = (claim) => ({ ...claim, status: { ...claim.status, addresses: [LENT] } });
const refuses =
  (reason: string): Answer =>
  (claim) =>
    withBound(claim, reason);
const isSilent: Answer = () => undefined;

/** A store in which other nodes answer for a loan as soon as they are asked, and a clock that runs while one waits. */
class Cluster extends MemoryStore implements Clock {
  readonly answers = new Map<string, Answer>();
  readonly asked: string[] = [];
  readonly claims = new Claims(this);
  held: ClaimRequest | undefined;
  #now = 0;

  wall = () => 0;
  monotonic = () => this.#now;
  async pause(ms: number): Promise<void> {
    this.#now += ms;
  }

  override async create<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    const created = await super.create(object);
    if (created.kind === 'IPClaim') await this.#answered(created as IPClaim);
    return created;
  }

  async #answered(claim: IPClaim): Promise<void> {
    const from = claim.spec.loan?.from ?? '';
    this.asked.push(from);
    const answer = this.answers.get(from)?.(claim);
    if (answer) this.claims.onClaim({ type: 'applied', object: await this.updateStatus(answer) });
  }

  async lender(name: string, { answer = lends, ...network }: LenderOptions): Promise<void> {
    this.answers.set(name, answer);
    await this.create(networkOf(name, network));
  }

  borrow(parts: Partial<LoansParts> = {}, request = REQUEST) {
    return this.loans(parts).borrow(request, SHORT);
  }

  loans(parts: Partial<LoansParts> = {}): Loans {
    return new Loans({
      claims: this.claims,
      holders: {
        hold: async (held) => {
          this.held = held;
          return { owner: held.owner, addresses: [parseIP(LENT)] } as never;
        },
      },
      store: this,
      node: BORROWER,
      rules: () => [RACK],
      routing: 'underlay',
      networks: async () => (await this.list('NodeNetwork')).items,
      reasonNotToBorrow: () => undefined,
      living: async (nodes) => [...nodes],
      clock: this,
      ...parts,
    });
  }
}

interface NetworkOptions {
  readonly free?: number;
  readonly routing?: 'underlay' | 'overlay';
  readonly segment?: Partial<NodeSegment>;
  /** Of the report, where it is not of the segment as it is. */
  readonly generation?: number;
}
type LenderOptions = NetworkOptions & { readonly answer?: Answer };

/** A node with one segment of 64 addresses. */
function networkOf(
  name: string,
  { free = 10, routing = 'underlay', segment = {}, generation = 1 }: NetworkOptions,
): NodeNetwork {
  const third = [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 256;
  const cidr = segment.cidr ?? `10.0.${third}.0/26`;
  return {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'NodeNetwork',
    metadata: { name },
    spec: { segments: [{ pool: 'rack', generation: 1, ...segment, cidr }] },
    status: { routing, segments: [{ cidr, generation, used: 64 - free }] },
  };
}

async function refusalOf(borrowing: Promise<unknown>): Promise<string> {
  const error = await borrowing.then(
    () => assert.fail('an address was borrowed'),
    (reason: unknown) => reason,
  );
  assert.equal(error instanceof CniError, true, String(error));
  assert.equal((error as CniError).code, CODE.tryAgainLater);
  return (error as CniError).message;
}

test('an address is borrowed from the node with most to spare, and held as any claimed one is, the other family beside it', async () => {
  const cluster = new Cluster();
  await cluster.lender('a', { free: 3 });
  await cluster.lender('b', { free: 30 });
  const { addresses } = await cluster.borrow();
  assert.deepEqual(addresses, [parseIP(LENT)]);
  assert.deepEqual(cluster.asked, ['b']);
  assert.deepEqual(cluster.held?.besides, [SIX]);
  assert.deepEqual(cluster.held?.terms.claim?.status?.addresses, [LENT]);
  assert.deepEqual(cluster.held?.terms.claim?.spec.loan, {
    family: 4,
    from: 'b',
    to: BORROWER,
    container: 'c1',
  });
});

test("one node after the other is asked, two at most, and the last one's reason is told", async () => {
  const cluster = new Cluster();
  await cluster.lender('a', { free: 3 });
  await cluster.lender('b', { free: 30, answer: refuses('it keeps them') });
  await cluster.lender('c', { free: 20, answer: isSilent });
  const message = await refusalOf(cluster.borrow());
  assert.equal(
    message,
    'Cannot borrow an IPv4 address for pod shop/web: node c does not lend one: it has not answered',
  );
  assert.deepEqual(cluster.asked, ['b', 'c']);
});

test('an ADD that is tried again finds what it was lent, and asks nobody a second time', async () => {
  const cluster = new Cluster();
  await cluster.lender('a', { answer: isSilent });
  await refusalOf(cluster.borrow());
  const { items } = await cluster.list('IPClaim');
  const [claim] = items;
  if (!claim) throw new Error('there is no claim');
  await cluster.updateStatus({ ...claim, status: { addresses: [LENT] } });
  await cluster.borrow();
  assert.deepEqual(cluster.asked, ['a']);
  const key = keyOf(claim);
  assert.equal(cluster.held?.key, `${key.namespace}/${key.name}`);
  assert.match(key.name, /^loan-[0-9a-f]{11}$/);
});

test('whatever nodes there are, those that are asked can lend, and nobody who can has more', async () => {
  const network = fc.record({
    free: fc.nat({ max: 64 }),
    routing: fc.constantFrom('underlay' as const, 'overlay' as const),
    generation: fc.constantFrom(1, 1, 1, 2),
    living: fc.boolean(),
    segment: fc.oneof(
      { weight: 4, arbitrary: fc.constant({}) },
      {
        weight: 1,
        arbitrary: fc.constantFrom<Partial<NodeSegment>[]>({ pool: 'other' }, { state: 'releasing' }),
      },
    ),
  });
  const able = ({ free, routing, generation, segment }: NetworkOptions) =>
    free !== undefined &&
    free > 0 &&
    routing === 'underlay' &&
    generation === 1 &&
    Object.keys(segment ?? {}).length === 0;
  await fc.assert(
    fc.asyncProperty(fc.array(network, { maxLength: 8 }), async (networks) => {
      const cluster = new Cluster();
      const names = networks.map((_, index) => String.fromCharCode(97 + index));
      for (const [index, one] of networks.entries()) {
        await cluster.lender(names[index] ?? '', { ...one, answer: refuses('no') });
      }
      const alive = (name: string) => networks[names.indexOf(name)]?.living ?? false;
      await refusalOf(cluster.borrow({ living: async (asked) => asked.filter(alive) }));
      const freeOf = (name: string) => networks[names.indexOf(name)]?.free ?? 0;
      for (const name of cluster.asked) {
        assert.equal(able(networks[names.indexOf(name)] ?? {}) && alive(name), true, name);
      }
      const spared = cluster.asked.map(freeOf);
      assert.deepEqual(
        spared,
        spared.toSorted((a, b) => b - a),
      );
      assert.equal(spared.length <= 2, true);
      const best = names
        .filter((name) => able(networks[names.indexOf(name)] ?? {}) && alive(name))
        .map(freeOf)
        .sort((a, b) => b - a);
      assert.deepEqual(spared, best.slice(0, 2));
    }),
    { numRuns: 200 },
  );
});

/** An ADD of kubelet's next attempt for the pod: in a container of its own. */
const attempt = (number: number): LoanRequest => ({
  ...REQUEST,
  owner: { ...REQUEST.owner, containerID: `c${number}` },
});

test('nodes that refuse or are silent keep no later attempt from a fifth one with room, however much they say they have', async () => {
  const cluster = new Cluster();
  await cluster.lender('a', { free: 30, answer: refuses('it keeps them') });
  await cluster.lender('b', { free: 29, answer: isSilent });
  await cluster.lender('c', { free: 28, answer: refuses('it keeps them') });
  await cluster.lender('d', { free: 27, answer: isSilent });
  await cluster.lender('e', { free: 1 });
  const loans = cluster.loans();
  await refusalOf(loans.borrow(attempt(1), SHORT));
  await refusalOf(loans.borrow(attempt(2), SHORT));
  assert.deepEqual(cluster.asked, ['a', 'b', 'c', 'd']);
  await loans.borrow(attempt(3), SHORT);
  assert.equal(cluster.held?.terms.claim?.spec.loan?.from, 'e');
  await cluster.pause(300_000);
  await refusalOf(loans.borrow(attempt(4), SHORT));
  assert.deepEqual(cluster.asked.slice(5), ['a', 'b'], 'in the end they are believed again');
});

test('what a silent node has lent after all is what the next attempt of the container gets', async () => {
  const cluster = new Cluster();
  await cluster.lender('a', { free: 30, answer: isSilent });
  await cluster.lender('b', { free: 3, answer: refuses('it keeps them') });
  await cluster.lender('c', { free: 2 });
  const loans = cluster.loans();
  await refusalOf(loans.borrow(REQUEST, SHORT));
  const { items } = await cluster.list('IPClaim');
  const asked = items.find(({ spec }) => spec.loan?.from === 'a');
  assert.notEqual(asked, undefined);
  const lent = { ...(asked as IPClaim), status: { addresses: [LENT] } };
  cluster.claims.onClaim({ type: 'applied', object: await cluster.updateStatus(lent) });
  await loans.borrow(REQUEST, SHORT);
  assert.equal(cluster.held?.terms.claim?.spec.loan?.from, 'a');
  assert.deepEqual(cluster.asked, ['a', 'b']);
});

test('a fifth node is found though the four with most room are gone', async () => {
  const cluster = new Cluster();
  for (const [index, name] of ['a', 'b', 'c', 'd', 'e'].entries()) {
    await cluster.lender(name, { free: 30 - index });
  }
  await cluster.borrow({ living: async (nodes) => nodes.filter((name) => name === 'e') });
  assert.deepEqual(cluster.asked, ['e']);
});

test("addresses that the pool reserves are not to spare, nor are those on a link, nor the borrower's own", async () => {
  const cluster = new Cluster();
  await cluster.lender('a', { free: 4, segment: { cidr: '10.0.5.0/26', reserved: ['10.0.5.0/30'] } });
  await cluster.lender('b', { segment: { cidr: '10.0.6.0/26', gateway: '10.0.6.1' } });
  await cluster.lender(BORROWER, {});
  assert.match(await refusalOf(cluster.borrow()), /: no other node has a free address of pool rack$/);
  assert.deepEqual(cluster.asked, []);
});

test('nobody is asked where the pod may not borrow, and the reason is told', async () => {
  const cluster = new Cluster();
  await cluster.lender('a', {});
  const forbidden = await refusalOf(cluster.borrow({ reasonNotToBorrow: () => 'strictAffinity is set' }));
  assert.match(forbidden, /: strictAffinity is set$/);
  const closed = await refusalOf(cluster.borrow({ rules: () => [{ ...RACK, workload: false }] }));
  assert.match(closed, /: its allowedUses do not include Workload$/);
  assert.match(await refusalOf(cluster.borrow({ rules: () => [] })), /: no pool is open to it here$/);
  assert.deepEqual(cluster.asked, []);
});

test('a store that does not answer, and an address that cannot be used after all, are for kubelet to come back for', async () => {
  const cluster = new Cluster();
  await cluster.lender('a', {});
  const refused: LoansParts['holders'] = {
    hold: () => Promise.reject(new Refusal('exhausted', 'there is no IPv6 address to go with it')),
  };
  assert.equal(
    await refusalOf(cluster.borrow({ holders: refused })),
    `Cannot use ${LENT}, which is borrowed: there is no IPv6 address to go with it`,
  );
  cluster.list = () => Promise.reject(new StoreError('Unavailable', 'Cannot list NodeNetwork: refused'));
  assert.match(await refusalOf(cluster.borrow()), /pod shop\/web: Cannot list NodeNetwork: refused$/);
});
