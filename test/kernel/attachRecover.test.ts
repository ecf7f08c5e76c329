import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type AttachmentKind, type AttachmentSpec, hostLinkName } from '../../src/attach/attachment.ts';
import { sweep } from '../../src/attach/detach.ts';
import { noPrograms } from '../../src/attach/podPrograms.ts';
import { writeSpec } from '../../src/attach/recordText.ts';
import { recover, strays } from '../../src/attach/recover.ts';
import { silentLog } from '../../src/log.ts';
import { DOOMED } from '../../src/netlink/deletion.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import { snapshot, specFor, TestNode } from './attachRig.ts';
import { TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('attachrecover');
after(() => namespaces.close());

const VICTIM = fileURLToPath(new URL('attachRecoverVictim.ts', import.meta.url));
const DETACH_VICTIM = fileURLToPath(new URL('detachVictim.ts', import.meta.url));
const ADDRESSES = ['10.0.0.7/24 via 10.0.0.254', 'fd00::7/64 via fd00::fe'];

/** A process of its own that attaches, and may die at a step; the signal that ended it. */
async function attachElsewhere(
  node: TestNode,
  specs: AttachmentSpec[],
  fatal: number | 'none',
): Promise<string | null> {
  const options = { stdio: ['pipe', 'inherit', 'inherit'] } as const;
  const words = ['--import', 'tsx', VICTIM, node.stateDir, String(fatal)];
  const child = node.at.start(process.execPath, words, { ...options, stdio: [...options.stdio] });
  child.stdin?.end(JSON.stringify(specs.map(writeSpec)));
  const [, signal] = await once(child, 'exit');
  return signal;
}

/** One record after the other: what comes behind the first deletion would be done outside of the node's namespace. */
async function recoverAll(node: TestNode, later = 11_000): Promise<string[]> {
  const { records } = node;
  const hooks = { programs: noPrograms, records, log: silentLog, now: Date.now() + later };
  const undone: string[] = [];
  for (const record of records.list().records) {
    const found = await node.at.inside(() => ({ done: recover([record], hooks) })).done;
    undone.push(...found.map(({ spec }) => spec.id));
  }
  return undone;
}

const KINDS: AttachmentKind[] = [
  { kind: 'veth' },
  { kind: 'nic', device: { by: 'name', name: 'ens5' } },
  { kind: 'child', master: 'ens5', type: 'macvlan' },
];

for (const kind of KINDS) {
  test(`after a SIGKILL at any step of a ${kind.kind}, recovery leaves the node as it was`, async (t) => {
    const node = new TestNode(namespaces, `kill${kind.kind}`, t);
    node.plug('ens5');
    node.at.run('sh', '-ec', 'ip addr add 10.5.0.5/24 dev ens5; ip route add 10.55.0.0/16 via 10.5.0.1');
    const steps = await node.stepsOf(specFor(node.pod(), ADDRESSES, kind));
    const before = snapshot(node.at);
    for (const [number, step] of steps.entries()) {
      const spec = specFor(node.pod(), ADDRESSES, kind);
      assert.equal(await attachElsewhere(node, [spec], number), 'SIGKILL', step);
      assert.deepEqual(await recoverAll(node, 0), [], 'somebody may still be working on it');
      const undone = await recoverAll(node);
      // Killed before there was a record, nothing had been touched.
      assert.deepEqual(undone, step === 'write the record' ? [] : [spec.id], step);
      node.records.remove(spec.id);
      assert.deepEqual(snapshot(node.at), before, step);
    }
  });
}

/** What comes after a process that was killed when it had marked the links of two attachments and deleted neither. */
const NEXT: Record<string, (node: TestNode, marked: AttachmentSpec[]) => Promise<void>> = {
  'a start of the agent': async (node, marked) => {
    assert.deepEqual((await recoverAll(node)).sort(), marked.map(({ id }) => id).sort());
    for (const { id } of marked) node.records.remove(id);
  },
  'a DEL of each': async (node, marked) => {
    for (const { id } of marked) await node.detach(id);
  },
  'a DEL of all at once': async (node, marked) => {
    await Promise.all(marked.map(({ id }) => node.detach(id)));
  },
  'the deletion of two others': async (node, marked) => {
    const others = attachTwo(node, 20);
    await Promise.all(others.map(({ id }) => node.detach(id)));
    assert.deepEqual(doomed(node), [], 'marked links go with any of their group');
    assert.equal((await recoverAll(node)).length, 2, 'their records tell of the rest');
    for (const { id } of marked) node.records.remove(id);
  },
};

/** The links that are marked, by name; for each other one iproute2 prints an empty object. */
function doomed(node: TestNode): string[] {
  const links: { ifname?: string }[] = node.at.ip(`link show group ${DOOMED}`);
  return links.flatMap(({ ifname }) => ifname ?? []).sort();
}

function attachTwo(node: TestNode, first: number): AttachmentSpec[] {
  const specs = [first, first + 1].map((host) => specFor(node.pod(), [`10.1.0.${host}/32`]));
  for (const spec of specs) node.attach(spec);
  return specs;
}

for (const [name, next] of Object.entries(NEXT)) {
  test(`links that were marked for deletion before a SIGKILL go with ${name}, and no others do`, async (t) => {
    const node = new TestNode(namespaces, `marked${Object.keys(NEXT).indexOf(name)}`, t);
    const kept = specFor(node.pod(), ['10.1.0.9/32']);
    node.attach(kept);
    const before = snapshot(node.at);
    const marked = attachTwo(node, 10);
    const words = ['--import', 'tsx', DETACH_VICTIM, node.stateDir, ...marked.map(({ id }) => id)];
    const victim = node.at.start(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit'] });
    assert.deepEqual(await once(victim, 'exit'), [null, 'SIGKILL']);
    assert.deepEqual(doomed(node), marked.map(({ id }) => hostLinkName(id)).sort());
    assert.deepEqual(
      marked.map(({ id }) => node.record(id).state),
      ['detaching', 'detaching'],
    );
    await next(node, marked);
    assert.deepEqual(snapshot(node.at), before);
    assert.deepEqual(
      node.records.list().records.map(({ spec }) => spec.id),
      [kept.id],
    );
    node.check(kept.id);
    assert.ok(node.at.pings('10.1.0.9'));
  });
}

test('host ends without a record are found, and swept away; those of others stay', async (t) => {
  const node = new TestNode(namespaces, 'stray', t);
  const [known, lost] = [specFor(node.pod(), ['10.1.0.2/32']), specFor(node.pod(), ['10.1.0.3/32'])];
  node.attach(known);
  node.attach(lost);
  node.records.remove(lost.id);
  node.at.run('ip', 'link', 'add', 'tbofriend', 'type', 'veth', 'peer', 'name', 'tbxfriend');
  const nl = node.at.inside(openNetlink);
  assert.deepEqual(strays(nl, node.records.list().records), [lost.id]);
  const hooks = { programs: noPrograms, records: node.records, log: silentLog };
  for (let times = 0; times < 2; times++) await node.at.inside(() => ({ done: sweep(lost, hooks) })).done;
  assert.deepEqual(strays(nl, node.records.list().records), []);
  assert.equal(node.at.attempt('ip', 'link', 'show', hostLinkName(known.id)).status, 0);
  assert.equal(node.at.attempt('ip', 'link', 'show', 'tbofriend').status, 0);
  nl.close();
});

test('one attachment that cannot be undone does not keep the others', async (t) => {
  const node = new TestNode(namespaces, 'stuck', t);
  const [stuck, loose] = [specFor(node.pod(), ['10.1.0.2/32']), specFor(node.pod(), ['10.1.0.3/32'])];
  for (const spec of [stuck, loose]) {
    node.attach(spec);
    node.records.write({ ...node.record(spec.id), state: 'detaching' });
  }
  const programs = {
    ...noPrograms,
    detach(id: string) {
      if (id === stuck.id) throw new Error('pin is busy');
    },
  };
  const { records } = node;
  const hooks = { programs, records, log: silentLog, now: Date.now() + 11_000 };
  const undone = await node.at.inside(() => ({ done: recover(records.list().records, hooks) })).done;
  assert.deepEqual(
    undone.map(({ spec }) => spec.id),
    [loose.id],
  );
});

test('two processes attach at the same time without disturbing each other', async (t) => {
  const node = new TestNode(namespaces, 'two', t);
  const before = snapshot(node.at);
  const specs = Array.from({ length: 16 }, (_, n) =>
    specFor(node.pod(), [`10.1.0.${n + 2}/32`, `fd01::${n + 2}/128`]),
  );
  const ended = await Promise.all([
    attachElsewhere(node, specs.slice(0, 8), 'none'),
    attachElsewhere(node, specs.slice(8), 'none'),
  ]);
  assert.deepEqual(ended, [null, null]);
  for (const spec of specs) node.check(spec.id);
  assert.ok(node.at.pings('10.1.0.17'));
  await Promise.all(specs.map(({ id }) => node.detach(id)));
  assert.deepEqual(snapshot(node.at), before);
});
