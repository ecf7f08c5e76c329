import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { eventually } from '../../eventually.rig.ts';
import { storeCompliance } from '../compliance.ts';
import { type Change, follow } from '../follow.ts';
import type { ObjectOf } from '../kinds/registry.ts';
import { service, withPort } from '../samples.rig.ts';
import { isStoreError, type Store } from '../store.ts';
import { openDirectoryStore } from './directory.ts';

storeCompliance('directory', async () => {
  const root = mkdtempSync(join(tmpdir(), 'tombolo-store-'));
  const store = openDirectoryStore(root);
  const other = openDirectoryStore(root);
  return {
    store,
    other,
    async dispose() {
      await Promise.all([store.close(), other.close()]);
      rmSync(root, { recursive: true });
    },
  };
});

const WEB = (port: number) => `
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec: { clusterIP: 10.96.0.10, ports: [{ port: ${port} }] }
`;

interface Bench {
  root: string;
  store: Store;
  reports: string[];
  put(path: string, text: string): string;
}

function withStore(claim: string, run: (bench: Bench) => Promise<void>): void {
  test(claim, async () => {
    const root = mkdtempSync(join(tmpdir(), 'tombolo-store-'));
    const reports: string[] = [];
    const store = openDirectoryStore(root, { report: (problem) => reports.push(problem) });
    const put = (path: string, text: string) => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
      return join(root, path);
    };
    try {
      await run({ root, store, reports, put });
    } finally {
      await store.close();
      rmSync(root, { recursive: true, force: true });
    }
  });
}

withStore(
  'a file dropped in by hand counts, and its namespace may come from its path',
  async ({ store, put }) => {
    put('Service/default/web.yaml', WEB(80).replace(', namespace: default', ''));
    const { items } = await store.list('Service');
    assert.equal(items[0]?.metadata.namespace, 'default');
    assert.equal(items[0]?.spec.clusterIP, '10.96.0.10');
  },
);

withStore('an invalid file is reported once and leaves the last valid version in force', async (bench) => {
  const { store, reports, put } = bench;
  put('Service/default/web.yaml', WEB(80));
  await store.list('Service');
  put('Service/default/web.yaml', WEB(80_000));
  for (let i = 0; i < 3; i++) {
    const { items } = await store.list('Service');
    assert.equal(items[0]?.spec.ports?.[0]?.port, 80);
  }
  assert.equal(reports.length, 1);
  assert.match(
    reports[0] ?? '',
    /Service\/default\/web\.yaml: spec\.ports\[0\]\.port: .* \(value 80000\); its last valid/,
  );
  assert.deepEqual(store.problems(), reports);
  put('Service/default/web.yaml', WEB(81));
  assert.equal((await store.list('Service')).items[0]?.spec.ports?.[0]?.port, 81);
  assert.deepEqual(store.problems(), []);
});

withStore('files whose content is not what their path says are refused by what differs', async (bench) => {
  const { store, reports, put } = bench;
  const refused: [string, string, RegExp][] = [
    ['Service/default/api.yaml', WEB(80), /metadata\.name: the path says api \(value "web"\)/],
    ['Service/other/web.yaml', WEB(80), /metadata\.namespace: the path says other \(value "default"\)/],
    [
      'Service/default/node.yaml',
      'apiVersion: v1\nkind: Node\nmetadata: { name: node }',
      /kind: the path says Service/,
    ],
    ['Service/web.yaml', WEB(80), /expected .*\/Service\/<namespace>\/<name>\.yaml/],
    ['Service/default/two.yaml', `${WEB(80)}---${WEB(81)}`, /one object per file.*apply -f.*\(value 2\)/],
    ['Service/default/empty.yaml', '', /the file is empty/],
    [
      'Service/default/half.yaml',
      'apiVersion: v1\nkind: Serv',
      /expected an object with apiVersion, kind and metadata/,
    ],
    ['Service/default/no.yaml', 'a: [1', /not YAML: .* at line 1/],
    ['Service/default/web.yml', WEB(80), /a name that ends in \.yaml/],
    ['stray.yaml', WEB(80), /stray\.yaml: expected .*<Kind>/],
    ['Services/default/web.yaml', WEB(80), /Services: expected a directory per kind, one of Node/],
  ];
  for (const [path, text, reason] of refused) {
    put(path, text);
    const before = reports.length;
    assert.deepEqual((await store.list('Service')).items, [], path);
    assert.equal(reports.length, before + 1, path);
    assert.match(reports.at(-1) ?? '', reason);
  }
});

withStore('editors leave files behind that are nobody’s business', async ({ store, reports, put }) => {
  put('Service/default/.web.yaml.swp', 'x');
  put('Service/default/web.yaml~', 'x');
  put('Service/default/#web.yaml#', 'x');
  assert.deepEqual((await store.list('Service')).items, []);
  assert.deepEqual(reports, []);
});

withStore('a follower sees files appear, change and go in new and renamed directories', async (bench) => {
  const { root, store, put } = bench;
  const seen: string[] = [];
  const stop = new AbortController();
  const done = follow(store, 'Service', (change) => seen.push(words(change)), stop.signal);
  await eventually(() => assert.deepEqual(seen, ['replaced by 0']));
  put('Service/default/web.yaml', WEB(80));
  await eventually(() => assert.equal(seen.at(-1), 'applied default/web 80'));
  put('Service/default/web.yaml', WEB(81));
  await eventually(() => assert.equal(seen.at(-1), 'applied default/web 81'));
  put('next.yaml', WEB(82));
  renameSync(join(root, 'next.yaml'), join(root, 'Service/default/web.yaml'));
  await eventually(() => assert.equal(seen.at(-1), 'applied default/web 82'));
  renameSync(join(root, 'Service/default'), join(root, 'Service/.default'));
  await eventually(() => assert.equal(seen.at(-1), 'deleted default/web 82'));
  stop.abort();
  await done;
});

withStore('a file written in pieces is taken when its writer has finished', async ({ store, put }) => {
  const seen: string[] = [];
  const stop = new AbortController();
  const done = follow(store, 'Service', (change) => seen.push(words(change)), stop.signal);
  await eventually(() => assert.equal(seen.length, 1));
  const path = put('Service/default/web.yaml', '');
  for (const piece of WEB(80).split(/(?<=: )/)) {
    appendFileSync(path, piece);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await eventually(() => assert.ok(seen.includes('applied default/web 80')));
  assert.deepEqual(store.problems(), []);
  stop.abort();
  await done;
});

withStore('a root that disappears deletes nothing', async ({ root, store, put }) => {
  put('Service/default/web.yaml', WEB(80));
  const seen: string[] = [];
  const stop = new AbortController();
  const done = follow(store, 'Service', (change) => seen.push(words(change)), stop.signal);
  await eventually(() => assert.deepEqual(seen, ['replaced by 1']));
  renameSync(root, `${root}.away`);
  await new Promise((resolve) => setTimeout(resolve, 150));
  await assert.rejects(store.list('Service'), (error) => isStoreError(error, 'Unavailable'));
  assert.deepEqual(seen, ['replaced by 1']);
  renameSync(`${root}.away`, root);
  assert.equal((await store.list('Service')).items.length, 1);
  stop.abort();
  await done;
});

withStore('a name that leads out of the directory is refused', async ({ store }) => {
  for (const name of ['..', '../x', '.lock', 'a/b', '']) {
    await assert.rejects(
      store.get('Service', { namespace: 'default', name }),
      (error) => isStoreError(error, 'Invalid'),
      name,
    );
  }
  await assert.rejects(store.get('Service', { name: 'web' }), /a namespace is required/);
  await assert.rejects(store.get('Node', { namespace: 'default', name: 'n' }), /it has no namespace/);
});

withStore('an invalid file can be replaced by creating its object', async ({ store, put }) => {
  put('Service/default/web.yaml', 'nonsense');
  await assert.rejects(store.get('Service', { namespace: 'default', name: 'web' }), (error) =>
    isStoreError(error, 'Invalid'),
  );
  await store.create(service('web'));
  assert.equal((await store.list('Service')).items.length, 1);
});

withStore(
  'no temporary file is left, and the version is not written into the file',
  async ({ root, store }) => {
    const created = await store.create(service('web'));
    await store.update(withPort(created, 81));
    assert.deepEqual(readdirSync(join(root, 'Service/default')), ['web.yaml']);
    assert.doesNotMatch(readFileSync(join(root, 'Service/default/web.yaml'), 'utf8'), /resourceVersion/);
  },
);

withStore('a writer that is killed holds no lock', async ({ root, store }) => {
  const script = `
    const { withLock } = await import(${JSON.stringify(join(import.meta.dirname, 'lock.ts'))});
    await withLock(${JSON.stringify(root)}, async () => {
      process.stdout.write('locked');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  const holder = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  const written = store.create(service('web'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(readdirSync(root), ['.lock']);
  holder.kill('SIGKILL');
  await written;
});

withStore('separators and comments around an object are no further objects', async ({ store, put }) => {
  put('Service/default/web.yaml', `# made by hand\n---\n${WEB(80)}---\n# nothing more\n`);
  assert.equal((await store.list('Service')).items.length, 1);
  assert.deepEqual(store.problems(), []);
});

withStore(
  'aliases that would fill the memory are refused under the name of their file',
  async ({ store, put }) => {
    const nested = ['a', 'b', 'c', 'd', 'e'].map((name, level) => {
      const inner = level === 0 ? '1' : `*${'abcde'[level - 1]}`;
      return `${name}: &${name} [${Array(9).fill(inner)}]`;
    });
    const path = put('Service/default/web.yaml', nested.join('\n'));
    await store.list('Service');
    assert.match(
      store.problems('Service')[0] ?? '',
      new RegExp(`^Cannot accept ${path}: not YAML: Excessive alias`),
    );
  },
);

withStore(
  'a directory of no kind is reported also while others are watched',
  async ({ store, reports, put }) => {
    const stop = new AbortController();
    const seen: string[] = [];
    const done = follow(store, 'Service', (change) => seen.push(words(change)), stop.signal);
    await eventually(() => assert.deepEqual(seen, ['replaced by 0']));
    put('Sevrice/default/web.yaml', WEB(80));
    await eventually(() => assert.match(String(reports), /Sevrice: expected a directory per kind/));
    assert.match(String(store.problems()), /Sevrice/);
    stop.abort();
    await done;
  },
);

withStore('a secret is for its owner alone, whatever wrote it', async ({ root, store }) => {
  await store.create({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'leaf', namespace: 'default' },
    stringData: { password: 'hush' },
  });
  assert.equal(statSync(join(root, 'Secret/default/leaf.yaml')).mode & 0o077, 0);
});

withStore('what a full disk takes only half of leaves the object as it was', async ({ root, store, put }) => {
  put('Service/default/web.yaml', WEB(80));
  const script = `
    const { openDirectoryStore } = await import(${JSON.stringify(join(import.meta.dirname, 'directory.ts'))});
    const store = openDirectoryStore(${JSON.stringify(root)});
    const web = await store.get('Service', { namespace: 'default', name: 'web' });
    web.metadata.annotations = { note: 'x'.repeat(8192) };
    await store.update(web).then(() => console.log('updated'), (error) => console.log(error.code));`;
  // A limit on the size of files ends a write in the middle, as a full disk does.
  const words = [
    '-c',
    'ulimit -f 4; exec "$@"',
    'sh',
    process.execPath,
    '--import',
    'tsx',
    '--input-type=module',
  ];
  const { stdout } = spawnSync('bash', [...words, '-e', script], { encoding: 'utf8' });
  assert.equal(stdout.trim(), 'EFBIG');
  assert.deepEqual(readdirSync(join(root, 'Service/default')), ['web.yaml']);
  const { items } = await store.list('Service');
  assert.equal(items[0]?.metadata.annotations, undefined);
  assert.deepEqual(store.problems(), []);
});

function words(change: Change<ObjectOf<'Service'>>): string {
  if (change.type === 'replaced') return `replaced by ${change.objects.length}`;
  if (change.type === 'interrupted') return 'interrupted';
  const { metadata, spec } = change.object;
  return `${change.type} ${metadata.namespace}/${metadata.name} ${spec.ports?.[0]?.port}`;
}
