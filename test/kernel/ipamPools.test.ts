// Pools as people write them, and what pods get from them: an agent and the operator as they are built.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { TestOperator } from './operatorRig.ts';

const OURS = 'network.tombolo.dev/v1alpha1';
const [POOLS4, POOLS6, ADDRESSES] = ['ipv4pools', 'ipv6pools', 'ipAddrs'].map(
  (name) => `cni.projectcalico.org/${name}`,
) as [string, string, string];

const namespaces = new TestNamespaces('ipampools');
const opened: (() => unknown)[] = [];
let count = 0;

/** What an ADD was answered with. */
interface Answer {
  readonly addresses: readonly string[];
  readonly code?: number;
  readonly msg?: string;
}

/** A cluster of one node, whose pools the command line has accepted. */
class Cluster {
  readonly rig = new AgentRig(namespaces, `q${++count}`, { segments: [] });
  readonly #pods = new Map<string, TestNamespace>();

  static async of(pools: Record<string, object>, ...operatorOptions: string[]): Promise<Cluster> {
    const cluster = new Cluster();
    opened.push(() => cluster.rig.remove());
    for (const [name, spec] of Object.entries(pools)) {
      assert.equal((await cluster.apply('IPPool', name, spec)).stdout, `ippool/${name} created\n`);
    }
    const operator = await TestOperator.start(join(cluster.rig.directory, 'store'), ...operatorOptions);
    opened.push(() => operator.end('SIGKILL'));
    await cluster.rig.start();
    return cluster;
  }

  apply(kind: string, name: string, spec: object) {
    const object = { apiVersion: OURS, kind, metadata: { name }, spec };
    return this.rig.cli(['apply', '-f', '-'], JSON.stringify(object));
  }

  /** A pod or a namespace, with annotations. */
  drop(kind: 'Pod' | 'Namespace', path: string, annotations: Record<string, string>): void {
    const [name = '', namespace] = path.split('/').toReversed();
    const metadata = { name, ...(namespace !== undefined && { namespace }), annotations };
    this.rig.drop(`${kind}/${path}.yaml`, JSON.stringify({ apiVersion: 'v1', kind, metadata }));
  }

  async add(path: string, configuration: object = {}): Promise<Answer> {
    const [namespace, name] = path.split('/');
    const pod = this.#pods.get(path) ?? namespaces.create(`q${count}-${this.#pods.size}`);
    this.#pods.set(path, pod);
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}`;
    const { body } = await this.rig.verb('ADD', path.replace('/', '-'), pod.path, configuration, args);
    const { ips = [], code, msg } = JSON.parse(body);
    return { addresses: ips.map(({ address }: { address: string }) => address), code, msg };
  }

  async del(path: string): Promise<void> {
    const pod = this.#pods.get(path);
    assert.equal((await this.rig.verb('DEL', path.replace('/', '-'), pod?.path ?? '')).status, 200);
  }

  // biome-ignore lint/suspicious/noExplicitAny: what a command prints.
  async json(...words: string[]): Promise<any> {
    return JSON.parse((await this.rig.cli([...words, '-o', 'json'])).stdout);
  }

  routes(family: 4 | 6): string[] {
    const text = this.rig.node.run('ip', `-${family}`, 'route', 'show', 'proto', '111');
    return text.split('\n').filter((line) => line !== '');
  }
}

describe('pools', () => {
  afterEach(async () => {
    for (const close of opened.splice(0).reverse()) await close();
  });
  after(() => namespaces.close());

  test('a block of one address has a route and no black hole, any other block has one, in both families', async () => {
    const cluster = await Cluster.of({
      four: { cidr: '10.83.0.0/24', blockSize: 28 },
      six: { cidr: 'fd83::/120', blockSize: 126 },
      single: { cidr: '10.84.0.0/24', blockSize: 32, nodeSelector: '!all()' },
      single6: { cidr: 'fd84::/120', blockSize: 128, nodeSelector: '!all()' },
    });
    cluster.drop('Namespace', 'alone', { [POOLS4]: '["single"]', [POOLS6]: 'single6' });
    assert.deepEqual((await cluster.add('shop/web')).addresses, ['10.83.0.0/32', 'fd83::/128']);
    assert.deepEqual((await cluster.add('alone/a')).addresses, ['10.84.0.0/32', 'fd84::/128']);
    assert.deepEqual((await cluster.add('alone/b')).addresses, ['10.84.0.1/32', 'fd84::1/128']);
    for (const [family, block, single] of [
      [4, '10.83.0.0/28', '10.84.'],
      [6, 'fd83::/126', 'fd84:'],
    ] as const) {
      const holes = cluster.routes(family).filter((line) => line.startsWith('blackhole'));
      assert.ok(
        holes.some((line) => line.startsWith(`blackhole ${block} `)),
        holes.join('; '),
      );
      assert.deepEqual(
        holes.filter((line) => line.includes(single)),
        [],
      );
      const routed = cluster.routes(family).filter((line) => line.startsWith(single));
      assert.equal(routed.length, 2, routed.join('; '));
    }
    assert.equal((await cluster.rig.cli(['ipam', 'check'])).stdout, 'nothing found\n');
  });

  test('a pod has an address of each family or none at all, and what one family had is not lost', async () => {
    const cluster = await Cluster.of({
      four: { cidr: '10.83.0.0/24', blockSize: 28 },
      six: { cidr: 'fd83::/126', blockSize: 126 },
    });
    for (const name of ['a', 'b', 'c', 'd']) {
      assert.equal((await cluster.add(`shop/${name}`)).addresses.length, 2);
    }
    const full = await cluster.add('shop/e');
    assert.deepEqual([full.addresses, full.code], [[], 11]);
    assert.match(
      full.msg ?? '',
      /Cannot allocate an IPv6 address: every one is in use, of fd83::\/126 \(4\)/,
    );
    const used = async () =>
      (await cluster.json('ipam', 'show')).segments.map(({ used }: { used: number }) => used);
    assert.deepEqual(await used(), [4, 4]);
    await cluster.del('shop/a');
    assert.equal((await cluster.add('shop/e')).addresses.length, 2);
    assert.deepEqual(await used(), [4, 4]);
  });

  test('addresses are had as they are asked for, by capability or annotation, or refused with the reason', async () => {
    const cluster = await Cluster.of({
      four: { cidr: '10.83.0.0/24', blockSize: 28 },
      six: { cidr: 'fd83::/120', blockSize: 124 },
      bank: { cidr: '10.84.0.0/24', blockSize: 28, nodeSelector: '!all()' },
    });
    await cluster.add('shop/first');
    const asking = (...ips: string[]) => ({ capabilities: { ips: true }, runtimeConfig: { ips } });
    const both = await cluster.add('shop/both', asking('10.83.0.9/24', 'fd83::9'));
    assert.deepEqual(both.addresses, ['10.83.0.9/32', 'fd83::9/128']);
    cluster.drop('Pod', 'shop/annotated', { [ADDRESSES]: '["10.83.0.10"]' });
    assert.deepEqual((await cluster.add('shop/annotated')).addresses, ['10.83.0.10/32']);

    const taken = await cluster.add('shop/taken', asking('10.83.0.9'));
    assert.equal(taken.code, 11);
    assert.match(taken.msg ?? '', /Cannot allocate 10\.83\.0\.9: pod shop\/both .*holds it/);
    const outside = await cluster.add('shop/outside', asking('10.66.0.9'));
    assert.equal(outside.code, 7);
    assert.match(outside.msg ?? '', /10\.66\.0\.9: it is in no active segment of this node/);
    cluster.drop('Pod', 'shop/typo', { [ADDRESSES]: '["10.83.0"]' });
    const typo = await cluster.add('shop/typo');
    assert.equal(typo.code, 7);
    assert.match(typo.msg ?? '', /annotation .*ipAddrs of pod shop\/typo: .*\(value "10\.83\.0"\)/);
    cluster.drop('Pod', 'shop/bound', { [POOLS4]: 'bank', [ADDRESSES]: '["10.83.0.11"]' });
    const bound = await cluster.add('shop/bound');
    assert.equal(bound.code, 7);
    assert.match(bound.msg ?? '', /10\.83\.0\.11: it is of pool four, and not of pool bank/);
    const holders = (await cluster.json('ipam', 'show')).holders ?? (await cluster.json('ipam', 'show'));
    assert.equal(JSON.stringify(holders).includes('10.83.0.11'), false);
  });

  test('maxBlocksPerHost holds a node back, which is said to everybody who may wonder, until it is raised', async () => {
    const cluster = await Cluster.of({
      four: { cidr: '10.83.0.0/24', blockSize: 31, expansion: { low: 0 } },
    });
    await cluster.apply('IPAMConfiguration', 'default', { maxBlocksPerHost: 1 });
    assert.equal((await cluster.add('shop/a')).addresses.length, 1);
    assert.equal((await cluster.add('shop/b')).addresses.length, 1);
    const reason = /the node holds 1 blocks?, and maxBlocksPerHost is 1/;
    const held = await cluster.add('shop/c');
    assert.equal(held.code, 11);
    assert.match(held.msg ?? '', reason);
    await eventually(async () => {
      const { status } = await cluster.json('get', 'nodenetwork', `q${count}`);
      const found = status.conditions.find(({ type }: { type: string }) => type === 'SegmentShortage');
      assert.equal(found.status, 'True', JSON.stringify(status.conditions));
      assert.match(found.message, reason);
    });
    await eventually(async () => {
      const { items } = await cluster.json('get', 'events', '--field-selector', 'reason=SegmentShortage');
      assert.match(items[0]?.message ?? '', reason);
    });
    assert.match((await cluster.rig.cli(['ipam', 'explain', 'pod', 'shop/c'])).stdout, reason);

    assert.equal((await cluster.apply('IPAMConfiguration', 'default', { maxBlocksPerHost: 2 })).status, 0);
    await eventually(async () => assert.equal((await cluster.add('shop/c')).addresses.length, 1));
    await eventually(async () => {
      const { conditions } = (await cluster.json('get', 'nodenetwork', `q${count}`)).status;
      assert.equal(
        conditions.find(({ type }: { type: string }) => type === 'SegmentShortage').status,
        'False',
      );
    });
  });

  test('a pool that is full is nothing to pods that draw from another one: they wait for its first block, and have it', async () => {
    const bound = { nodeSelector: '!all()', blockSize: 32 };
    const cluster = await Cluster.of({
      full: { ...bound, cidr: '10.83.0.0/32' },
      roomy: { ...bound, cidr: '10.84.0.0/24' },
    });
    for (const name of ['full', 'roomy']) cluster.drop('Namespace', name, { [POOLS4]: name });
    assert.deepEqual((await cluster.add('full/a')).addresses, ['10.83.0.0/32']);
    assert.match((await cluster.add('full/b')).msg ?? '', /pool full \(10\.83\.0\.0\/32\) has no free block/);
    await eventually(async () => {
      const { status } = await cluster.json('get', 'nodenetwork', `q${count}`);
      assert.match(status.shortages?.[0]?.reason ?? '', /pool full/);
    });
    assert.deepEqual((await cluster.add('roomy/a')).addresses, ['10.84.0.0/32']);
  });

  test('an address rests as long as its pool says, and the node gets a block rather than use it before', async () => {
    const spec = {
      cidr: '10.83.0.0/30',
      blockSize: 31,
      cooldownSeconds: 600,
      expansion: { low: 0, high: 100 },
    };
    const cluster = await Cluster.of({ four: spec });
    const [a] = (await cluster.add('shop/a')).addresses;
    const [b] = (await cluster.add('shop/b')).addresses;
    await cluster.del('shop/a');
    const [c] = (await cluster.add('shop/c')).addresses;
    assert.notEqual(c, a, 'it has been in use only just now, and the pool has another block');
    const { segments } = await cluster.json('ipam', 'show');
    assert.equal(segments.length, 2);
    assert.match(
      (await cluster.rig.cli(['ipam', 'show', a?.replace('/32', '') ?? ''])).stdout,
      /Holder +nobody.*Rests until +20/s,
    );
    await cluster.add('shop/d');
    // Nothing else is left in the whole pool: better one that rests than none.
    const began = performance.now();
    const last = await cluster.add('shop/e');
    assert.deepEqual(last.addresses, [a]);
    assert.ok(performance.now() - began < 5_000, 'who is told that there is no block does not wait for one');
    assert.equal(new Set([b, c, ...last.addresses]).size, 3);
    assert.match((await cluster.rig.get('/metrics')).body, /^tombolo_ipam_hot_total 1$/m);
    assert.ok(
      cluster.rig.log.some((line) => line.includes('used again before it has rested')),
      'a line in the log',
    );
  });

  test('the way that a refusal advises leads from one mask to another', async () => {
    const old = { cidr: '10.83.0.0/24', blockSize: 28, cooldownSeconds: 1, expansion: { low: 1, high: 17 } };
    const cluster = await Cluster.of({ old }, '--shrink-after', '1');
    assert.match((await cluster.add('shop/web')).addresses[0] ?? '', /^10\.83\.0\./);
    const refused = await cluster.apply('IPPool', 'old', { ...old, blockSize: 30 });
    assert.equal(refused.status, 1);
    assert.match(
      refused.stderr,
      /Instead: make a second pool .*; set spec\.disabled: true on old, replace its pods/,
    );

    const fresh = { ...old, cidr: '10.84.0.0/24', blockSize: 30 };
    assert.equal((await cluster.apply('IPPool', 'fresh', fresh)).stdout, 'ippool/fresh created\n');
    assert.equal(
      (await cluster.apply('IPPool', 'old', { ...old, disabled: true })).stdout,
      'ippool/old updated\n',
    );
    assert.equal((await cluster.rig.cli(['delete', 'ippool', 'old'])).status, 1, 'its pod is still there');
    await eventually(async () =>
      assert.match((await cluster.add('shop/next')).addresses[0] ?? '', /^10\.84\.0\./),
    );
    await cluster.del('shop/web');
    await eventually(async () => {
      const { pools } = await cluster.json('ipam', 'show');
      const row = pools.find(({ pool }: { pool: string }) => pool === 'old');
      assert.deepEqual([row.held, row.cooling], [0, 0]);
    }, 30_000);
    assert.equal((await cluster.rig.cli(['delete', 'ippool', 'old'])).stdout, 'ippool/old deleted\n');
    assert.deepEqual(
      cluster.routes(4).filter((line) => line.includes('10.83.')),
      [],
    );
    assert.equal((await cluster.rig.cli(['ipam', 'check'])).stdout, 'nothing found\n');
  });

  test('a name that is mistyped on the namespace is told on the pod and on the namespace, whatever else is open', async () => {
    const cluster = await Cluster.of({
      four: { cidr: '10.83.0.0/24', blockSize: 28 },
      six: { cidr: 'fd83::/120', blockSize: 124 },
    });
    cluster.drop('Namespace', 'vault', { [POOLS6]: '["sixx"]' });
    const typo = await cluster.add('vault/web');
    assert.deepEqual([typo.addresses, typo.code], [[], 7]);
    assert.match(
      typo.msg ?? '',
      /pool sixx, named by annotation .*ipv6pools of namespace vault: there is no pool/,
    );
    const told = async (kind: string) => {
      const { items } = await cluster.json(
        'get',
        'events',
        '--field-selector',
        `involvedObject.kind=${kind}`,
      );
      return items.filter(({ message }: { message: string }) => message.includes('pool sixx')).length;
    };
    await eventually(async () => assert.deepEqual([await told('Pod'), await told('Namespace')], [1, 1]));
    // The pod's own annotation goes before its namespace's.
    cluster.drop('Pod', 'vault/web', { [POOLS6]: 'six' });
    assert.equal((await cluster.add('vault/web')).addresses.length, 2);
  });

  test('a pool that is for nobody, for something else or for other nodes gives nothing away', async () => {
    const cluster = await Cluster.of({
      vips: { cidr: '10.84.0.0/24', allowedUses: ['LoadBalancer'] },
      off: { cidr: '10.85.0.0/24', disabled: true },
      manual: { cidr: '10.86.0.0/24', assignmentMode: 'Manual' },
      named: { cidr: '10.87.0.0/24', nodeSelector: '!all()' },
      rack: { cidr: '10.88.0.0/24', nodeSelector: 'rack in {"a", "b"} && !has(edge)' },
      bank: {
        cidr: '10.89.0.0/24',
        namespaceSelector: 'tenant == "bank" || kubernetes.io/metadata.name starts with "vault"',
      },
    });
    const nothing = await cluster.add('shop/web');
    assert.deepEqual([nothing.addresses, nothing.code], [[], 11]);
    assert.match(
      nothing.msg ?? '',
      /no segment is assigned to this node, and no pool is open to the pod here/,
    );
    assert.match((await cluster.add('vault-1/web')).addresses[0] ?? '', /^10\.89\./);
    cluster.drop('Pod', 'shop/manual', { [POOLS4]: 'manual' });
    assert.match((await cluster.add('shop/manual')).addresses[0] ?? '', /^10\.86\./);
    for (const [pool, reason] of [
      ['vips', /its allowedUses do not include Workload/],
      ['off', /it is disabled/],
      ['rack', /it does not select node/],
      ['bank', /it does not select the namespace/],
    ] as const) {
      cluster.drop('Pod', `shop/${pool}`, { [POOLS4]: pool });
      const { addresses, code, msg } = await cluster.add(`shop/${pool}`);
      assert.deepEqual([addresses, code], [[], 7]);
      assert.match(msg ?? '', reason);
    }
    // A label that makes the node one of the rack's opens the rack's pool to it at once.
    const node = await cluster.json('get', 'node', `q${count}`);
    cluster.rig.drop(
      `Node/q${count}.yaml`,
      JSON.stringify({ ...node, metadata: { ...node.metadata, labels: { rack: 'b' } } }),
    );
    await eventually(async () =>
      assert.match((await cluster.add('shop/web')).addresses[0] ?? '', /^10\.88\./),
    );
  });
});
