// Fixed addresses: two agents and the operator, all as they are built, over one directory store.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { TestOperator } from './operatorRig.ts';

const namespaces = new TestNamespaces('claims');
const opened: (() => Promise<unknown>)[] = [];
let count = 0;

interface Cluster {
  readonly a: AgentRig;
  readonly b: AgentRig;
}

/** Two nodes on one link, node `a` with the store. */
async function newCluster(cidr = '10.81.0.0/16'): Promise<Cluster> {
  const name = `c${++count}`;
  const settings = (host: number) => ({
    segments: [],
    nodeIP: `198.51.100.${host}`,
    bgp: `198.51.100.${host}:179`,
  });
  const a = new AgentRig(namespaces, `${name}a`, settings(1));
  opened.push(() => a.remove());
  const store = `directory:${join(a.directory, 'store')}`;
  const b = new AgentRig(namespaces, `${name}b`, { ...settings(2), store });
  opened.push(() => b.remove());
  a.node.run('ip', 'link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan0', 'netns', b.node.name);
  for (const [rig, host] of [
    [a, 1],
    [b, 2],
  ] as const) {
    rig.node.run('ip', 'address', 'add', `198.51.100.${host}/24`, 'dev', 'lan0');
    rig.node.run('ip', 'link', 'set', 'lan0', 'up');
    rig.node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  }
  drop(a, 'IPPool', { name: 'default' }, { spec: { cidr, blockSize: 28 } });
  const operator = await TestOperator.start(join(a.directory, 'store'));
  opened.push(() => operator.end('SIGKILL'));
  await Promise.all([a.start(), b.start()]);
  return { a, b };
}

const API: Record<string, string> = { StatefulSet: 'apps/v1', Pod: 'v1', Node: 'v1' };

function drop(
  rig: AgentRig,
  kind: string,
  metadata: { name: string; namespace?: string } & object,
  body = {},
): void {
  const { name, namespace } = metadata;
  const path = [kind, ...(namespace === undefined ? [] : [namespace]), `${name}.yaml`].join('/');
  const apiVersion = API[kind] ?? 'network.tombolo.dev/v1alpha1';
  rig.drop(path, JSON.stringify({ apiVersion, kind, metadata, ...body }));
}

function remove(rig: AgentRig, path: string): void {
  rmSync(join(rig.directory, 'store', path));
}

/** The StatefulSet `db`, and its pod `db-0` as one that asks for a fixed address. */
function dropSet(rig: AgentRig, uid: string, policy = 'immutable'): void {
  drop(rig, 'StatefulSet', { namespace: 'shop', name: 'db', ...{ uid: 'set-1' } }, { spec: { replicas: 2 } });
  dropPod(rig, 'db-0', uid, policy);
}

function dropPod(rig: AgentRig, name: string, uid: string, policy = 'immutable'): void {
  const ownerReferences = [{ kind: 'StatefulSet', name: 'db', uid: 'set-1' }];
  const annotations = { 'network.tombolo.dev/release-policy': policy };
  drop(rig, 'Pod', { namespace: 'shop', name, ...{ uid, ownerReferences, annotations } });
}

interface Attached {
  readonly code?: number;
  readonly msg?: string;
  readonly address: string;
}

const containers = new Map<string, TestNamespace>();

/** A namespace for a container, made with its first ADD. */
function netns(container: string): TestNamespace {
  const name = `${count}${container}`;
  const there = containers.get(name) ?? namespaces.create(name);
  containers.set(name, there);
  return there;
}

async function add(rig: AgentRig, container: string, pod: string, uid = 'u'): Promise<Attached> {
  const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod};K8S_POD_UID=${uid}`;
  const { body } = await rig.verb('ADD', container, netns(container).path, {}, args);
  const { code, msg, ips } = JSON.parse(body);
  return { code, msg, address: ips?.[0].address.replace(/\/.*/, '') };
}

async function del(rig: AgentRig, container: string): Promise<void> {
  const { status, body } = await rig.verb('DEL', container, netns(container).path);
  assert.equal(status, 200, body);
}

async function claim(rig: AgentRig, name = 'db-0') {
  const { stdout } = await rig.cli(['get', 'ipclaim', name, '-n', 'shop', '-o', 'json']);
  return stdout === '' ? undefined : JSON.parse(stdout);
}

/** Waits for the first block of each node. */
async function ready(...rigs: AgentRig[]): Promise<string[]> {
  const blocks: string[] = [];
  for (const rig of rigs) {
    await eventually(async () => {
      const [segment] = (await rig.json('/v1/status')).segments;
      assert.equal(segment?.state, 'active');
      blocks.push(segment.cidr);
    }, 60_000);
  }
  return blocks;
}

describe('a fixed address', () => {
  afterEach(async () => {
    for (const close of opened.splice(0).reverse()) await close();
  });
  after(() => namespaces.close());

  test('goes with a StatefulSet pod to another node, once the old pod is gone, and back home', async () => {
    const { a, b } = await newCluster();
    const [block = ''] = await ready(a, b);
    await eventually(() => assert.match(b.node.run('ip', 'route'), new RegExp(`${block} `)), 60_000);
    dropSet(a, 'pod-1');
    const first = await add(a, 'one', 'db-0', 'pod-1');
    assert.match(first.address, /^10\.81\./, first.msg);
    const neighbour = await add(a, 'web', 'web-1');
    assert.equal(netns('web').pings(first.address), true);

    // The pod has been made anew on the other node while the old one is still being taken down.
    dropPod(a, 'db-0', 'pod-2');
    const early = await add(b, 'two', 'db-0', 'pod-2');
    assert.equal(early.code, 11);
    assert.match(early.msg ?? '', new RegExp(`container one on node c${count}a has not let go of it`));
    await del(a, 'one');
    const moved = await add(b, 'two', 'db-0', 'pod-2');
    assert.equal(moved.address, first.address, moved.msg);
    assert.match(
      a.node.run('ip', 'route', 'show', 'proto', '111'),
      new RegExp(`${first.address} via 198\\.51\\.100\\.2`),
    );
    assert.equal(netns('two').pings(neighbour.address), true);
    assert.equal(netns('web').pings(moved.address), true, 'through the black hole of its block');
    assert.notEqual((await add(a, 'three', 'web-2')).address, first.address);

    // Somebody takes the way through away: that is found, and mended.
    a.node.run('ip', 'route', 'delete', `${first.address}/32`, 'proto', '111');
    assert.equal(netns('web').pings(moved.address), false);
    const found = JSON.parse((await a.cli(['ipam', 'check', '-o', 'json'])).stdout);
    assert.deepEqual(
      found.map(({ kind, object }: { kind: string; object: string }) => [kind, object]),
      [['borrowed address without a way', first.address]],
    );
    assert.equal((await a.cli(['ipam', 'check', '--fix'])).status, 0);
    assert.equal(netns('web').pings(moved.address), true);

    dropPod(a, 'db-0', 'pod-3');
    await del(b, 'two');
    const home = await add(a, 'four', 'db-0', 'pod-3');
    assert.equal(home.address, first.address, home.msg);
    const passage = new RegExp(`^${first.address} via`, 'm');
    await eventually(() => assert.doesNotMatch(a.node.run('ip', 'route', 'show', 'proto', '111'), passage));
    assert.equal(netns('web').pings(home.address), true);
  });

  test("is nobody else's while its pod is away, not even after the agent was killed, until its owner is gone", async () => {
    const { a } = await newCluster();
    await ready(a);
    dropSet(a, 'pod-1');
    const { address } = await add(a, 'one', 'db-0', 'pod-1');
    await del(a, 'one');
    await eventually(async () => assert.match((await claim(a)).status.releasedAt ?? '', /Z$/));
    await a.end('SIGKILL');
    await a.start();
    const others = await Promise.all(
      Array.from({ length: 15 }, (_, index) => add(a, `x${index}`, `web-${index}`)),
    );
    assert.ok(!others.some((one) => one.address === address));
    assert.equal((await add(a, 'two', 'db-0', 'pod-1')).address, address);
    await del(a, 'two');
    remove(a, 'StatefulSet/shop/db.yaml');
    await eventually(async () => assert.equal(await claim(a), undefined), 60_000);
    await eventually(async () => {
      const { kept } = await a.json('/v1/ipam');
      assert.deepEqual(kept, []);
    });
  });

  test('is taken from a node that is gone, and not from one that is only silent', async () => {
    const { a, b } = await newCluster();
    await ready(a, b);
    dropSet(a, 'pod-1');
    const { address } = await add(a, 'one', 'db-0', 'pod-1');
    await a.end('SIGKILL');
    dropPod(a, 'db-0', 'pod-2');
    const silent = await add(b, 'two', 'db-0', 'pod-2');
    assert.equal(silent.code, 11);
    assert.match(silent.msg ?? '', /if that node is dead, delete its Node or taint it/);
    remove(a, `Node/c${count}a.yaml`);
    const gone = await add(b, 'two', 'db-0', 'pod-2');
    assert.equal(gone.code, 11);
    assert.match(gone.msg ?? '', /which is gone; the operator takes it for dead/);
    const spec = { taints: [{ key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' }] };
    drop(a, 'Node', { name: `c${count}a` }, { spec });
    const taken = await add(b, 'two', 'db-0', 'pod-2');
    assert.equal(taken.address, address, taken.msg);
  });

  test('is lent to an ordinary pod of a node that cannot have a block, by one that has', async () => {
    const { a, b } = await newCluster('10.81.0.0/28');
    let lender = a;
    await eventually(async () => {
      const held = await Promise.all(
        [a, b].map(async (rig) => (await rig.json('/v1/status')).segments.length),
      );
      assert.deepEqual(held.toSorted(), [0, 1]);
      lender = held[0] === 1 ? a : b;
    }, 60_000);
    const borrower = lender === a ? b : a;
    const near = await add(lender, 'near', 'web-1');
    const lent = await add(borrower, 'far', 'web-2');
    assert.match(lent.address ?? '', /^10\.81\.0\./, lent.msg);
    assert.notEqual(lent.address, near.address);
    const passage = new RegExp(`^${lent.address} via`, 'm');
    assert.match(lender.node.run('ip', 'route', 'show', 'proto', '111'), passage);
    assert.equal(netns('near').pings(lent.address), true, 'through the black hole of its block');
    const { kept } = await lender.json('/v1/ipam');
    assert.deepEqual(
      kept.map(({ address }: { address: string }) => address),
      [lent.address],
    );
    await lender.end('SIGKILL');
    await lender.start();
    assert.notEqual((await add(lender, 'next', 'web-3')).address, lent.address, 'also after it was killed');
    await del(borrower, 'far');
    await eventually(async () => assert.deepEqual((await lender.json('/v1/ipam')).kept, []), 60_000);

    drop(a, 'IPAMConfiguration', { name: 'default' }, { spec: { strictAffinity: true } });
    await eventually(async () => {
      const strict = await add(borrower, 'strict', 'web-4');
      assert.match(strict.msg ?? '', /has no free block .*; and Cannot borrow .* strictAffinity is true/);
    }, 60_000);
  });

  test('that somebody has written down is had by the pod of its name, or refused with the reason', async () => {
    const { a } = await newCluster();
    await ready(a);
    const owner = { kind: 'Pod', name: 'dns' };
    drop(a, 'IPClaim', { namespace: 'shop', name: 'dns' }, { spec: { owner, addresses: ['10.81.99.9'] } });
    await eventually(async () => assert.deepEqual((await claim(a, 'dns')).status?.addresses, ['10.81.99.9']));
    const dns = await add(a, 'dns', 'dns');
    assert.equal(dns.address, '10.81.99.9', dns.msg);
    drop(a, 'IPClaim', { namespace: 'shop', name: 'out' }, { spec: { owner, addresses: ['10.9.9.9'] } });
    await eventually(async () => assert.notEqual((await claim(a, 'out')).status?.conditions, undefined));
    const out = await add(a, 'out', 'out');
    assert.equal(out.code, 11);
    assert.match(out.msg ?? '', /nobody has set aside 10\.9\.9\.9: 10\.9\.9\.9 lies in no pool/);
    drop(a, 'IPAMConfiguration', { name: 'default' }, { spec: { strictAffinity: true } });
    await del(a, 'dns');
    const strict = await add(a, 'again', 'dns');
    assert.equal(strict.code, 7);
    assert.match(strict.msg ?? '', /Cannot borrow 10\.81\.99\.9 .* strictAffinity is true/);
  });
});
