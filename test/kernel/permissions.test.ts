// What agent and operator ask of the Kubernetes API, and what deploy/rbac.yaml lets them: the same, no more and no less.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import { eventually } from '../../src/eventually.rig.ts';
import { CLAIM_PROTECTION } from '../../src/store/kinds/ipClaim.ts';
import type { Kind, ObjectOf } from '../../src/store/kinds/registry.ts';
import { openKubernetesStore } from '../../src/store/kubernetes/kubernetes.ts';
import { type Access, StrictApiServer } from '../../src/store/kubernetes/strictApiServer.ts';
import type { Store } from '../../src/store/store.ts';
import { AgentRig, standAlone } from './agentRig.ts';
import { TestNamespaces } from './namespaces.ts';
import { TestOperator } from './operatorRig.ts';

const RBAC = join(import.meta.dirname, '../../deploy/rbac.yaml');
const OURS = 'network.tombolo.dev/v1alpha1';
const POLICY = 'network.tombolo.dev/release-policy';
const SYSTEM = 'kube-system';
/** What the agent tells apart by the minute, and the operator looks at twice within ten seconds. */
const PATIENCE_MS = 90_000;

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules: readonly Rule[];
}

/** `tombolo-agent get secrets in kube-system`: one line for all that is granted, and for all that is asked. */
function line(account: string, verb: string, group: string, resource: string, namespace?: string): string {
  const what = group === '' ? resource : `${resource}.${group}`;
  return `${account} ${verb} ${what}${namespace === undefined ? '' : ` in ${namespace}`}`;
}

function granted(): Set<string> {
  const roles = parseAllDocuments(readFileSync(RBAC, 'utf8'))
    .map((document): Role => document.toJS())
    .filter(({ kind }) => kind === 'ClusterRole' || kind === 'Role');
  return new Set(
    roles.flatMap(({ metadata: { name, namespace }, rules }) =>
      rules.flatMap(({ apiGroups, resources, verbs }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((resource) => verbs.map((verb) => line(name, verb, group, resource, namespace))),
        ),
      ),
    ),
  );
}

/** Lets through what is granted, and remembers what was asked. */
class Authorizer {
  readonly used = new Set<string>();
  readonly refused = new Set<string>();
  readonly #granted = granted();

  readonly allows = ({ token, verb, group, resource, namespace }: Access): boolean => {
    if (token === 'admin') return true;
    const lines = [line(token, verb, group, resource, namespace), line(token, verb, group, resource)];
    const fitting = lines.find((one) => this.#granted.has(one));
    if (fitting === undefined) this.refused.add(lines[namespace === SYSTEM ? 0 : 1] ?? '');
    else this.used.add(fitting);
    return fitting !== undefined;
  };

  get unused(): string[] {
    return [...this.#granted].filter((one) => !this.used.has(one)).sort();
  }
}

const namespaces = new TestNamespaces('permissions');
const directory = mkdtempSync('/run/tbpermissions-');
const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});
after(() => {
  namespaces.close();
  rmSync(directory, { recursive: true });
});

/** A server, its administrator, and a node that finds it at its leaf. */
async function newCluster(name: string, authorize: (access: Access) => boolean) {
  const server = await StrictApiServer.start();
  server.pageSize = 500;
  closing.push(() => server.stop());
  server.authorize = authorize;
  const store = administrator(server);
  closing.push(() => store.close());
  const place = standAlone(namespaces, name);
  const nearby = place.leaf.inside(() => server.serve((one) => one.listen(0)));
  const url = `http://192.0.2.1:${(nearby.address() as AddressInfo).port}`;
  const settings = { segments: [], store: kubeconfig('tombolo-agent', url), bgp: '192.0.2.2:1790' };
  const rig = new AgentRig(namespaces, name, settings, place);
  closing.push(() => rig.remove());
  return { server, store, rig };
}

function kubeconfig(account: string, server: string): string {
  const file = join(directory, `${account}.kubeconfig`);
  const context = { cluster: 'c', user: 'u' };
  writeFileSync(
    file,
    JSON.stringify({
      clusters: [{ name: 'c', cluster: { server } }],
      users: [{ name: 'u', user: { token: account } }],
      contexts: [{ name: 'x', context }],
      'current-context': 'x',
    }),
  );
  return `kubernetes:${file}`;
}

function administrator(server: StrictApiServer): Store {
  const nothing = { ca: undefined, certificate: undefined, key: undefined, serverName: undefined };
  return openKubernetesStore({ server: server.url, ...nothing, token: () => 'admin', verify: true });
}

async function put<K extends Kind>(store: Store, object: ObjectOf<K> & { status?: unknown }): Promise<void> {
  const created = await store.create(object);
  if (object.status !== undefined) await store.updateStatus({ ...created, status: object.status });
}

/** One more segment for a node, whoever else is writing. */
async function assign(store: Store, name: string, segment: { cidr: string; generation: number }) {
  await eventually(async () => {
    const { spec, ...network } = await store.get('NodeNetwork', { name });
    await store.update({ ...network, spec: { segments: [...(spec.segments ?? []), segment] } });
  });
}

test('agent and operator need what deploy/rbac.yaml grants them, all of it and nothing else', async () => {
  const authorizer = new Authorizer();
  const { server, store, rig } = await newCluster('perm', authorizer.allows);
  const operatorStore = kubeconfig('tombolo-operator', server.url.origin);
  const start = () => TestOperator.over(operatorStore, '--shrink-after', '1');

  const own = { apiVersion: OURS };
  const core = { apiVersion: 'v1' };
  const spec = { cidr: '10.87.0.0/29', blockSize: 31, nodeSelector: 'rack != "b"', expansion: { low: 0 } };
  await put<'IPPool'>(store, { ...own, kind: 'IPPool', metadata: { name: 'four' }, spec });
  const addresses = [{ type: 'InternalIP', address: '192.0.2.2' }];
  await put<'Node'>(store, { ...core, kind: 'Node', metadata: { name: 'perm' }, status: { addresses } });
  // One without an agent: its object is the operator's to make.
  await put<'Node'>(store, { ...core, kind: 'Node', metadata: { name: 'other', labels: { rack: 'b' } } });
  const others = { cidr: '10.88.0.0/24', nodeSelector: 'rack == "b"' };
  await put<'IPPool'>(store, { ...own, kind: 'IPPool', metadata: { name: 'others' }, spec: others });
  await put<'Namespace'>(store, { ...core, kind: 'Namespace', metadata: { name: 'shop' } });
  const password = { secretKeyRef: { name: 'leaf', key: 'password' } };
  const secret = { ...core, kind: 'Secret', metadata: { namespace: SYSTEM, name: 'leaf' } };
  await put<'Secret'>(store, { ...secret, stringData: { password: 'sesame' } });
  await put<'BGPPeer'>(store, {
    ...own,
    kind: 'BGPPeer',
    metadata: { name: 'leaf' },
    spec: { peerIP: '192.0.2.1', asNumber: 64513, password },
  });

  let operator = await start();
  closing.push(() => operator.end('SIGKILL'));
  await rig.start();
  const add = async (name: string) => {
    const { path } = namespaces.create(`perm${name}${Math.random().toString(36).slice(2, 6)}`);
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name}`;
    const { body } = await rig.verb('ADD', `perm-${name}-${path.slice(-4)}`, path, {}, args);
    return { path, id: `perm-${name}-${path.slice(-4)}`, answer: JSON.parse(body) };
  };
  const pod = (name: string, annotations: Record<string, string>, owner?: string) => ({
    ...core,
    kind: 'Pod',
    metadata: {
      namespace: 'shop',
      name,
      annotations,
      ...(owner !== undefined && { ownerReferences: [{ kind: 'StatefulSet', name: owner }] }),
    },
  });

  // An address that is kept, changes its policy, and is let go of.
  await put<'Pod'>(store, pod('db-0', { [POLICY]: 'pod' }, 'db'));
  const first = await add('db-0');
  assert.equal(first.answer.code, undefined, first.answer.msg);
  const before = await store.get('Pod', { namespace: 'shop', name: 'db-0' });
  await store.update({
    ...before,
    metadata: { ...before.metadata, annotations: { [POLICY]: 'immutable' } },
  });
  assert.equal((await rig.verb('DEL', first.id, first.path)).status, 200);
  const second = await add('db-0');
  assert.equal(second.answer.code, undefined, second.answer.msg);

  // Claims that end: of a pod and of a StatefulSet that are gone; and one that was held on a node that is gone.
  const releasedAt = new Date(Date.now() - 3_600_000).toISOString();
  const claim = (name: string, kind: string, more: object, status: object) =>
    put<'IPClaim'>(store, {
      ...own,
      kind: 'IPClaim',
      metadata: { namespace: 'shop', name, finalizers: [CLAIM_PROTECTION] },
      spec: { owner: { kind, name: kind === 'Pod' ? name : 'gone' }, ...more },
      status,
    });
  await claim('gone', 'Pod', { releasePolicy: 'Pod' }, { addresses: ['10.87.0.7'], releasedAt });
  await claim(
    'gone-0',
    'StatefulSet',
    { releasePolicy: 'Immutable' },
    { addresses: ['10.87.0.6'], releasedAt },
  );
  const holder = { node: 'nowhere', container: 'c', since: releasedAt };
  await claim('far-0', 'StatefulSet', { releasePolicy: 'Never' }, { addresses: ['10.87.0.5'], ...holder });

  // More pods than there are addresses, told on the pod and on the node; told again by the next agent and operator.
  const full = async () => {
    for (let left = 8; left > 0; left--) {
      if ((await add('web')).answer.code === 11) return;
    }
    assert.fail('the pool has no end');
  };
  await full();
  const shortage = async () => {
    const { status } = await store.get('NodeNetwork', { name: 'perm' });
    return status?.conditions?.find(({ type }) => type === 'SegmentShortage')?.status;
  };
  await eventually(async () => assert.equal(await shortage(), 'True'), PATIENCE_MS);
  await rig.end('SIGTERM');
  await operator.end('SIGTERM');
  operator = await start();
  await rig.start();
  // The words are the same once this agent has heard the operator.
  await eventually(async () => {
    await full();
    assert.equal(authorizer.used.has('tombolo-agent update events'), true);
  }, PATIENCE_MS);

  // A block that another node uses is given up by whoever does not use it.
  await put<'Node'>(store, { ...core, kind: 'Node', metadata: { name: 'twin' } });
  const free = { cidr: '10.99.0.0/31', generation: 1 };
  await assign(store, 'perm', free);
  await put<'NodeNetwork'>(store, {
    ...own,
    kind: 'NodeNetwork',
    metadata: { name: 'twin' },
    spec: { segments: [free] },
    status: { segments: [{ ...free, used: 1 }] },
  });
  await eventually(async () => {
    const { segments } = await rig.json('/v1/ipam');
    assert.equal(
      segments.some(({ cidr }: { cidr: string }) => cidr === free.cidr),
      true,
    );
  }, PATIENCE_MS);
  await rig.cli(['ipam', 'check', '--fix']);

  await eventually(() => assert.deepEqual(authorizer.unused, []), PATIENCE_MS).catch(() => {});
  assert.deepEqual([...authorizer.refused].sort(), [], 'asked for, and not granted');
  assert.deepEqual(authorizer.unused, [], 'granted, and never asked for');
});

test('what happens on other nodes costs an agent no request', async () => {
  const asked: string[] = [];
  const { store, rig } = await newCluster('frugal', ({ token, verb, resource }) => {
    if (token !== 'admin') asked.push(`${verb} ${resource}`);
    return true;
  });
  const [own, core] = [{ apiVersion: OURS }, { apiVersion: 'v1' }];
  const addresses = [{ type: 'InternalIP', address: '192.0.2.2' }];
  await put<'Node'>(store, { ...core, kind: 'Node', metadata: { name: 'frugal' }, status: { addresses } });
  const segments = (third: number) => [{ cidr: `10.87.${third}.0/24`, generation: 1 }];
  for (const [name, third] of [
    ['frugal', 1],
    ['other', 2],
  ] as const) {
    const spec = { segments: segments(third) };
    await put<'NodeNetwork'>(store, { ...own, kind: 'NodeNetwork', metadata: { name }, spec });
  }
  await rig.start();
  await eventually(async () => {
    const { status } = await store.get('NodeNetwork', { name: 'frugal' });
    assert.equal(status?.segments?.[0]?.cidr, '10.87.1.0/24');
  }, PATIENCE_MS);
  await rig.pod('a');
  await sleep(2_500);
  asked.length = 0;
  for (let used = 1; used <= 20; used++) {
    const other = await store.get('NodeNetwork', { name: 'other' });
    const status = { nodeIPs: ['192.0.2.3'], segments: segments(2).map((one) => ({ ...one, used })) };
    await store.updateStatus({ ...other, status });
    await sleep(20);
  }
  await sleep(500);
  assert.deepEqual(asked, []);
  // The watch was alive all the time: what is the agent's own is answered.
  await assign(store, 'frugal', { cidr: '10.87.3.0/24', generation: 1 });
  await eventually(async () => {
    const { status } = await store.get('NodeNetwork', { name: 'frugal' });
    assert.equal(status?.segments?.length, 2);
  }, PATIENCE_MS);
});
