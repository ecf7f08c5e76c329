import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../log.ts';
import { openDirectoryStore } from '../store/directory/directory.ts';
import { CLAIM_PROTECTION, type IPClaim } from '../store/kinds/ipClaim.ts';
import type { ObjectOf } from '../store/kinds/registry.ts';
import { isStoreError, type Store } from '../store/store.ts';
import { ClaimKeeper } from './claims.ts';

interface Bench {
  readonly store: Store;
  /** Advances the clock by so many seconds, and has the keeper look. */
  look(seconds: number): Promise<void>;
  /** What is left of the claim. */
  claim(): Promise<IPClaim | undefined>;
}

const START = 1_700_000_000_000;

function withKeeper(claim: string, run: (bench: Bench) => Promise<void>): void {
  test(claim, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tombolo-claims-'));
    const store = openDirectoryStore(directory);
    let clock = START;
    const keeper = new ClaimKeeper({
      store,
      clock: { wall: () => clock, monotonic: () => clock },
      log: silentLog,
      observationGap: 10_000,
    });
    try {
      await run({
        store,
        async look(seconds) {
          clock += seconds * 1000;
          await keeper.round(() => true);
        },
        claim: () => store.get('IPClaim', { namespace: 'shop', name: 'db-0' }).catch(absent),
      });
    } finally {
      await store.close();
      rmSync(directory, { recursive: true });
    }
  });
}

function absent(error: unknown): undefined {
  if (!isStoreError(error, 'NotFound')) throw error;
}

function released(change: Partial<IPClaim['spec']> = {}, status: IPClaim['status'] = {}): IPClaim {
  const releasedAt = new Date(START).toISOString();
  return {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'IPClaim',
    metadata: { namespace: 'shop', name: 'db-0' },
    spec: { owner: { kind: 'StatefulSet', name: 'db' }, releasePolicy: 'Immutable', ...change },
    status: { addresses: ['10.0.0.9'], podUID: 'u1', releasedAt, ...status },
  };
}

async function createSet(store: Store, replicas: number): Promise<void> {
  const metadata = { namespace: 'shop', name: 'db' };
  await store.create({ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata, spec: { replicas } });
}

withKeeper(
  'a claim is kept while its StatefulSet has the pod, and ends after two looks when that is over',
  async (bench) => {
    const { store, look, claim } = bench;
    await createSet(store, 1);
    await store.create(released());
    for (let time = 0; time < 5; time++) await look(20);
    assert.ok(await claim());
    const set = await store.get('StatefulSet', { namespace: 'shop', name: 'db' });
    await store.update({ ...set, spec: { replicas: 0 } });
    await look(20);
    assert.ok(await claim(), 'one look proves nothing');
    await look(20);
    assert.equal(await claim(), undefined);
  },
);

withKeeper('whoever takes the claim between two looks keeps it', async ({ store, look, claim }) => {
  await store.create(released());
  await look(20);
  const before = await store.get('IPClaim', { namespace: 'shop', name: 'db-0' });
  await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } });
  await store.updateStatus({ ...before, status: { addresses: ['10.0.0.9'], node: 'a', container: 'c' } });
  await look(20);
  await look(20);
  assert.equal((await claim())?.status?.node, 'a');
});

withKeeper('a claim ends when nobody has held it for ttlSeconds', async ({ store, look, claim }) => {
  await createSet(store, 1);
  await store.create(released({ releasePolicy: 'Never', ttlSeconds: 60 }));
  for (let time = 0; time < 29; time++) await look(2);
  assert.notEqual(await claim(), undefined);
  for (let time = 0; time < 8; time++) await look(2);
  assert.equal(await claim(), undefined, 'whatever the seconds are by now');
});

withKeeper('an owner of a kind that nobody can read is presumed alive', async ({ store, look, claim }) => {
  await store.create(released({ owner: { kind: 'CloneSet', name: 'db' } }));
  for (let time = 0; time < 5; time++) await look(20);
  assert.ok(await claim());
});

withKeeper('a claim of policy Pod ends with the pod, also when another one has its name', async (bench) => {
  const { store, look, claim } = bench;
  const pod: ObjectOf<'Pod'> = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'shop', name: 'db-0' },
  };
  const { metadata } = await store.create(pod);
  await store.create(released({ releasePolicy: 'Pod' }, { podUID: metadata.uid ?? '' }));
  await look(20);
  await look(20);
  assert.ok(await claim());
  await store.delete('Pod', { namespace: 'shop', name: 'db-0' });
  await store.create(pod);
  await look(20);
  await look(20);
  assert.equal(await claim(), undefined);
});

withKeeper(
  'a holder on a node that is gone has let go if nobody objects, on one that only says nothing it has not',
  async (bench) => {
    const { store, look, claim } = bench;
    await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } });
    await store.create(released({ releasePolicy: 'Never' }, { node: 'a', container: 'c' }));
    for (let time = 0; time < 5; time++) await look(20);
    assert.equal((await claim())?.status?.doubted, undefined);
    await store.delete('Node', { name: 'a' });
    await look(20);
    assert.equal((await claim())?.status?.doubted, undefined, 'one look proves nothing');
    await look(20);
    assert.equal((await claim())?.status?.doubted, 'c', 'its agent is asked');
    const asked = await store.get('IPClaim', { namespace: 'shop', name: 'db-0' });
    await store.updateStatus({ ...asked, status: { addresses: ['10.0.0.9'], node: 'a', container: 'c' } });
    for (let time = 0; time < 3; time++) await look(20);
    assert.equal((await claim())?.status?.node, 'a', 'the agent has answered, and is asked anew');
    assert.equal((await claim())?.status?.doubted, 'c');
    await look(20);
    await look(20);
    assert.equal((await claim())?.status?.node, undefined);
    assert.deepEqual((await claim())?.status?.addresses, ['10.0.0.9']);
  },
);

withKeeper('a claim that is deleted while somebody holds it goes when that has let go', async (bench) => {
  const { store, look, claim } = bench;
  await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } });
  const fresh = released({ releasePolicy: 'Never' }, { node: 'a', container: 'c' });
  await store.create({ ...fresh, metadata: { ...fresh.metadata, finalizers: [CLAIM_PROTECTION] } });
  await store.delete('IPClaim', { namespace: 'shop', name: 'db-0' });
  for (let time = 0; time < 3; time++) await look(20);
  const held = await store.get('IPClaim', { namespace: 'shop', name: 'db-0' });
  await store.updateStatus({ ...held, status: { addresses: ['10.0.0.9'] } });
  await look(20);
  assert.equal(await claim(), undefined);
});

withKeeper(
  'an address in no block is set aside for one claim only, and not if its pool reserves it',
  async (bench) => {
    const { store, look, claim } = bench;
    const spec = { cidr: '10.0.0.0/24', reserved: ['10.0.0.0/28'] };
    await store.create({
      apiVersion: 'network.tombolo.dev/v1alpha1',
      kind: 'IPPool',
      metadata: { name: 'p' },
      spec,
    });
    const { status: _, ...fresh } = released({ addresses: ['10.0.0.99'] });
    await store.create(fresh);
    await look(20);
    assert.deepEqual((await claim())?.status?.addresses, ['10.0.0.99']);
    const refusal = async (name: string, address: string) => {
      await store.create({
        ...released({ addresses: [address] }),
        metadata: { namespace: 'shop', name },
        status: {},
      });
      await look(20);
      const { status } = await store.get('IPClaim', { namespace: 'shop', name });
      assert.deepEqual(status?.addresses ?? [], []);
      return status?.conditions?.[0]?.message;
    };
    assert.equal(await refusal('rival', '10.0.0.99'), '10.0.0.99 is kept for claim shop/db-0');
    assert.equal(await refusal('router', '10.0.0.1'), '10.0.0.1 lies in 10.0.0.0/28, which pool p reserves');
    assert.equal(await refusal('stray', '10.9.9.9'), '10.9.9.9 lies in no pool');
  },
);
