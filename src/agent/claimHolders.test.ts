import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { CniError } from '../../cni/protocol/error.ts';
import { formatIP, type IP, parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import { systemClock } from '../clock.ts';
import type { PoolRule } from '../ipam/binding.ts';
import type { ClaimWish } from '../ipam/claim.ts';
import { Ipam } from '../ipam/ipam.ts';
import { poolRule } from '../ipam/poolRule.rig.ts';
import { silentLog } from '../log.ts';
import { ifThere } from '../store/ifThere.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import { MemoryStore } from '../store/memory.rig.ts';
import { isStoreError, type Store, StoreError } from '../store/store.ts';
import type { Terms } from './binding.ts';
import { ClaimedAddresses } from './claimedAddresses.ts';
import { ClaimHolders } from './claimHolders.ts';
import { Claims } from './claims.ts';

const POD = { namespace: 'shop', name: 'db-0', uid: 'u' };
const WISH: ClaimWish = { policy: 'Never', owner: { kind: 'Pod', name: 'db-0' }, ttlSeconds: undefined };

/** One node's agent, as far as claims are concerned. */
class TestNode {
  readonly name: string;
  readonly ipam: Ipam;
  readonly holders: ClaimHolders;
  readonly #claims = new Claims(systemClock);
  readonly #claimed: ClaimedAddresses;
  readonly #store: Store;
  readonly #live = new Set<string>();
  withdrawn: (address: IP) => boolean = () => true;
  rules: readonly PoolRule[] = [];

  constructor(name: string, directory: string, store: Store) {
    this.name = name;
    this.#store = store;
    const options = { cooldown: 0, boot: 'b', now: Date.now, log: silentLog };
    this.ipam = new Ipam({ directory: join(directory, name), ...options });
    const parts = { claims: this.#claims, store, node: name, ipam: this.ipam, log: silentLog };
    this.#claimed = new ClaimedAddresses({ ...parts, letThrough: async () => new Set<IP>() });
    this.holders = new ClaimHolders({
      ...parts,
      rules: () => this.rules,
      reasonNotToBorrow: () => undefined,
      blockOwners: async () => [],
      borrowedChanged: () => {},
      isWithdrawn: (address) => this.withdrawn(address),
      tell: () => {},
      clock: systemClock,
      patience: 0,
    });
  }

  /** @returns The address, or undefined where the ADD was told to come again. */
  async add(container: string, asked: Partial<Terms> = {}): Promise<string | undefined> {
    const owner = { containerID: container, ifName: 'eth0', network: 'pods' };
    try {
      const claim = await readClaim(this.#store);
      const subject = { node: { name: this.name, labels: {} } };
      const terms = { sources: [], addresses: [], wish: WISH, claim, subject, ...asked };
      const { addresses } = await this.holders.hold({
        pod: POD,
        owner,
        terms,
        onLink: false,
        draw: (request) => this.ipam.allocate({ ...request, sources: undefined }),
      });
      this.#live.add(container);
      return addresses.map(formatIP).join();
    } catch (error) {
      if (error instanceof CniError ? error.code !== 11 : !isStoreError(error, 'Unavailable')) throw error;
      // The runtime takes back what it was refused.
      await this.del(container);
      return undefined;
    }
  }

  async del(container: string): Promise<void> {
    this.#live.delete(container);
    await this.ipam.release({ containerID: container, ifName: 'eth0' });
  }

  /** What the store's news make it do. */
  async hear(): Promise<void> {
    const { items } = await this.#store.list('IPClaim');
    this.#claims.onClaim({ type: 'replaced', objects: items });
    for (const part of [this.holders, this.#claimed]) {
      await part.reconcile().catch((error: unknown) => {
        if (!isStoreError(error, 'Unavailable')) throw error;
      });
    }
  }

  /** The addresses of containers that run with them. */
  living(): string[] {
    return [...this.#live].flatMap((container) =>
      (this.ipam.heldBy({ containerID: container, ifName: 'eth0' })?.addresses ?? []).map(formatIP),
    );
  }
}

function readClaim(store: Store): Promise<IPClaim | undefined> {
  return ifThere(store.get('IPClaim', POD));
}

/** Fails writes of a claim's status: before they happen, or after. */
class UnreliableStore extends MemoryStore {
  faults: ('none' | 'lost' | 'committed')[] = [];

  override async updateStatus<T extends Parameters<Store['updateStatus']>[0]>(object: T): Promise<T> {
    const fault = this.faults.shift() ?? 'none';
    if (fault === 'lost') throw new StoreError('Unavailable', 'connection reset');
    const written = await super.updateStatus(object);
    if (fault === 'committed') throw new StoreError('Unavailable', 'connection reset after the write');
    return written;
  }
}

async function withNodes(
  run: (nodes: readonly TestNode[], store: UnreliableStore) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-claims-'));
  const store = new UnreliableStore();
  const nodes = ['a', 'b', 'c'].map((name) => new TestNode(name, directory, store));
  try {
    for (const [index, node] of nodes.entries()) {
      await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: node.name } });
      await node.ipam.assign([{ prefix: parsePrefix(`10.0.${index}.0/30`), state: 'active', generation: 1 }]);
    }
    await run(nodes, store);
  } finally {
    for (const node of nodes) await node.ipam.close();
    rmSync(directory, { recursive: true });
  }
}

test('of nodes that claim one address at once a single one has it, and the others are told to come again', () =>
  withNodes(async (nodes) => {
    const results = await Promise.all(nodes.map((node) => node.add(`on-${node.name}`)));
    assert.equal(results.filter((result) => result !== undefined).length, 1);
    const [address] = nodes.flatMap((node) => node.living());
    const winner = nodes.findIndex((node) => node.living().length > 0);
    await nodes[winner]?.del(`on-${nodes[winner]?.name}`);
    await nodes[winner]?.hear();
    const next = nodes[(winner + 1) % 3];
    assert.equal(await next?.add('next'), address);
  }));

test('a pod that is bound to a pool does not get the address that its claim keeps of another one', () =>
  withNodes(async ([node]) => {
    assert.equal(await node?.add('before'), '10.0.0.0');
    await node?.del('before');
    await node?.hear();
    assert.ok(node);
    const bank = { family: 4, bound: true, pools: ['bank'], why: 'annotation of its namespace' } as const;
    node.rules = [poolRule('old', '10.0.0.0/24'), poolRule('bank', '10.1.0.0/24')];
    await assert.rejects(
      node.add('after', { sources: [bank] }),
      /Cannot give 10\.0\.0\.0 of claim shop\/db-0 .*of pool old: the pod draws from pool bank alone \(annotation of its namespace\)/,
    );
    assert.equal(await node.add('after', { sources: [{ ...bank, pools: ['bank', 'old'] }] }), '10.0.0.0');
  }));

test('a pod that insists on an address is not given the one that its claim keeps instead', () =>
  withNodes(async ([node]) => {
    await node?.add('before');
    await node?.del('before');
    await node?.hear();
    await assert.rejects(
      async () => node?.add('after', { addresses: [parseIP('10.0.0.2')] }),
      /Cannot give 10\.0\.0\.2 to the pod of claim shop\/db-0: the claim keeps 10\.0\.0\.0 for it/,
    );
  }));

test('a claim whose write was lost or committed without an answer leaves nobody with two holders', () =>
  withNodes(async ([a, b], store) => {
    assert.ok(a && b);
    store.faults = ['committed'];
    assert.equal(await a.add('one'), undefined);
    assert.equal((await readClaim(store))?.status?.container, 'one');
    assert.equal(await b.add('two'), undefined, 'as far as the claim says, the first may live');
    await a.hear();
    const address = await b.add('three');
    assert.equal(address, '10.0.0.0', 'it was set aside for the claim all the while');
    store.faults = ['lost'];
    await b.del('three');
    await b.hear();
    assert.equal(await a.add('four'), undefined);
    await b.hear();
    assert.equal(await a.add('five'), address);
  }));

test('a borrowed address is let go of when it is withdrawn, and not before', () =>
  withNodes(async ([a, b], store) => {
    assert.ok(a && b);
    const address = await a.add('one');
    await a.del('one');
    await a.hear();
    assert.equal(await b.add('two'), address);
    b.withdrawn = () => false;
    await b.del('two');
    await b.hear();
    assert.equal((await readClaim(store))?.status?.node, 'b');
    assert.deepEqual(b.holders.leaving().map(formatIP), [address]);
    assert.equal(await a.add('early'), undefined);
    b.withdrawn = () => true;
    await b.hear();
    assert.equal(await a.add('three'), address);
  }));

type Step = readonly [node: number, action: 'add' | 'del' | 'hear', container: number];

test('whatever happens, in whatever order, an address never has two living holders', async () => {
  const step: fc.Arbitrary<Step> = fc.tuple(
    fc.nat(2),
    fc.constantFrom('add' as const, 'add' as const, 'del' as const, 'hear' as const),
    fc.nat(2),
  );
  const rounds = fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { minLength: 4, maxLength: 12 });
  const faults = fc.array(
    fc.constantFrom('none' as const, 'none' as const, 'lost' as const, 'committed' as const),
  );
  await fc.assert(
    fc.asyncProperty(rounds, faults, (plan, given) =>
      withNodes(async (nodes, store) => {
        store.faults = [...given];
        for (const steps of plan) {
          const once = new Map(steps.map((one) => [`${one[0]} ${one[2]}`, one]));
          await Promise.all([...once.values()].map((one) => perform(nodes, one)));
          const living = nodes.flatMap((node) => node.living());
          assert.equal(new Set(living).size, living.length, `two holders of ${living.join()}`);
          assert.ok(living.length <= 1, `the claim's pod lives ${living.length} times`);
        }
        store.faults = [];
        for (const node of nodes)
          for (const container of [0, 1, 2]) await node.del(`c${container}-${node.name}`);
        for (const node of nodes) await node.hear();
        assert.ok((await nodes[0]?.add('last')) !== undefined, 'nothing is lost for ever');
      }),
    ),
    { numRuns: 40 },
  );
});

async function perform(nodes: readonly TestNode[], [index, action, container]: Step): Promise<void> {
  const node = nodes[index];
  if (action === 'add') await node?.add(`c${container}-${node.name}`);
  else if (action === 'del') await node?.del(`c${container}-${node.name}`);
  else await node?.hear();
}
