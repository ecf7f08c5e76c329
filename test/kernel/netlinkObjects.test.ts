import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import { parseMac } from '../../src/address/mac.ts';
import { formatPrefix, parseInterfaceAddress, parsePrefix } from '../../src/address/prefix.ts';
import { programInfo, tryLoadTiny } from '../../src/ebpf/program.ts';
import { addAddress } from '../../src/netlink/address.ts';
import { addBridge } from '../../src/netlink/bridge.ts';
import { startDeletion } from '../../src/netlink/deletion.ts';
import { appendFdb, deleteFdb, listFdb, replaceFdb } from '../../src/netlink/fdb.ts';
import { addFilter, deleteFilter, listFilters, replaceFilter } from '../../src/netlink/filter.ts';
import {
  deleteLink,
  deleteLinkRequest,
  findLink,
  getLink,
  listLinks,
  setLink,
} from '../../src/netlink/link.ts';
import { type KernelEvent, monitor } from '../../src/netlink/monitor.ts';
import { deleteNextHop, listNextHops, replaceNextHop } from '../../src/netlink/nextHopObject.ts';
import { deleteClsact, ensureClsact, listQdiscs } from '../../src/netlink/qdisc.ts';
import { addRoute, listRoutes } from '../../src/netlink/route.ts';
import { addRule, deleteRule, listRules } from '../../src/netlink/rule.ts';
import { type Netlink, openNetlink } from '../../src/netlink/socket.ts';
import { addVeth } from '../../src/netlink/veth.ts';
import { addVxlan } from '../../src/netlink/vxlan.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('netlinkobj');
after(() => namespaces.close());

const ip = parseIP;
const net = parsePrefix;

/** A namespace with the veth pair `near`-`far`, both up in it, `near` with 10.9.0.1/24 and fd09::1/64. */
function node(name: string): { at: TestNamespace; nl: Netlink; index: number } {
  const at = namespaces.create(name);
  const nl = at.inside(openNetlink);
  const { index, parent = 0 } = addVeth(nl, { name: 'near', peer: { name: 'far' } });
  nl.batch((batch) => {
    setLink(batch, parent, { up: true });
    setLink(batch, index, { up: true });
    addAddress(batch, { index, address: parseInterfaceAddress('10.9.0.1/24') });
    addAddress(batch, { index, address: parseInterfaceAddress('fd09::1/64'), noDad: true });
  });
  return { at, nl, index };
}

/** `return verdict` as a tc program. */
function verdictProgram(verdict: number): number {
  const SCHED_CLS = 3;
  const instructions = Buffer.from('b7000000000000009500000000000000', 'hex');
  instructions.writeInt32LE(verdict, 4);
  const fd = tryLoadTiny({ type: SCHED_CLS, instructions });
  assert.ok(fd >= 0);
  return fd;
}

test('routes follow their next hop object when it changes, and groups share by weight', () => {
  const { at, nl, index } = node('nexthop');
  const gateway = (text: string) => ({ kind: 'gateway', gateway: ip(text), index }) as const;
  replaceNextHop(nl, { id: 1, target: gateway('10.9.0.2') });
  replaceNextHop(nl, { id: 2, target: gateway('10.9.0.3') });
  replaceNextHop(nl, { id: 6, target: { kind: 'gateway', gateway: ip('fd09::2'), index } });
  replaceNextHop(nl, { id: 7, target: { kind: 'blackhole', family: 4 } });
  const members = [
    { id: 1, weight: 1 },
    { id: 2, weight: 200 },
  ];
  replaceNextHop(nl, { id: 10, target: { kind: 'group', members } });
  addRoute(nl, { prefix: net('10.1.0.0/16'), nextHopId: 10 });
  addRoute(nl, { prefix: net('10.2.0.0/16'), nextHopId: 1 });
  addRoute(nl, { prefix: net('fd02::/16'), nextHopId: 6 });
  const [shared] = listRoutes(nl, { protocol: 111 }).filter(({ nextHopId }) => nextHopId === 10);
  assert.equal(shared && formatPrefix(shared.prefix), '10.1.0.0/16');
  assert.equal(at.ip('nexthop show id 10')[0].group[1].weight, 200);
  replaceNextHop(nl, { id: 1, target: gateway('10.9.0.99') });
  assert.equal(at.ip('route get 10.2.3.4')[0].gateway, '10.9.0.99');
  const all = listNextHops(nl, { protocol: 111 });
  assert.deepEqual(
    all.map(({ id, target }) => [id, target.kind]),
    [
      [1, 'gateway'],
      [2, 'gateway'],
      [6, 'gateway'],
      [7, 'blackhole'],
      [10, 'group'],
    ],
  );
  assert.deepEqual(all.find(({ id }) => id === 10)?.target, { kind: 'group', members });
  deleteNextHop(nl, 10);
  assert.deepEqual(
    listRoutes(nl, { protocol: 111, family: 4 }).map(({ prefix }) => formatPrefix(prefix)),
    ['10.2.0.0/16'],
  );
  assert.throws(() => deleteNextHop(nl, 10), { code: 'ENOENT' });
  assert.throws(
    () => replaceNextHop(nl, { id: 11, target: { kind: 'group', members: [{ id: 99, weight: 1 }] } }),
    /Cannot replace next hop 11: EINVAL \(Invalid nexthop id\)/,
  );
  nl.close();
});

test('a rule sends marked packets to a table of their own', () => {
  const { at, nl, index } = node('rule');
  addRoute(nl, { prefix: net('0.0.0.0/0'), table: 1234, nextHops: [{ index, gateway: ip('10.9.0.77') }] });
  const rule = { family: 4, priority: 100, table: 1234, mark: 0x10, mask: 0xff } as const;
  addRule(nl, rule);
  addRule(nl, {
    family: 6,
    priority: 101,
    table: 99,
    from: net('fd01::/16'),
    to: net('fd02::/16'),
    not: true,
  });
  addRule(nl, { family: 4, priority: 102, action: 'prohibit', inLink: 'near', from: net('192.0.2.0/24') });
  assert.throws(() => addRule(nl, rule), { code: 'EEXIST' });
  assert.equal(at.ip('route get 8.8.8.8 mark 0x10')[0].gateway, '10.9.0.77');
  const own = listRules(nl, { protocol: 111 });
  assert.deepEqual(
    own.map((each) => [
      each.family,
      each.priority,
      each.action,
      each.table,
      each.mark,
      each.not,
      each.inLink,
    ]),
    [
      [4, 100, 'lookup', 1234, 16, false, undefined],
      [4, 102, 'prohibit', 0, undefined, false, 'near'],
      [6, 101, 'lookup', 99, undefined, true, undefined],
    ],
  );
  deleteRule(nl, rule);
  assert.throws(() => deleteRule(nl, rule), { code: 'ENOENT' });
  assert.deepEqual(
    listRules(nl, { family: 4 }).map(({ priority }) => priority),
    [0, 102, 32766, 32767],
  );
  nl.close();
});

test('a VXLAN device holds many remotes for unknown frames and one for each known address', () => {
  const { at, nl } = node('fdb');
  addVxlan(nl, { name: 'overlay', tunnel: { by: 'vni', vni: 9 } });
  const { index } = getLink(nl, 'overlay');
  const anyone = parseMac('00:00:00:00:00:00');
  const someone = parseMac('02:00:00:00:00:05');
  appendFdb(nl, { index, mac: anyone, remote: ip('10.9.0.2') });
  appendFdb(nl, { index, mac: anyone, remote: ip('10.9.0.3') });
  replaceFdb(nl, { index, mac: someone, remote: ip('10.9.0.2') });
  replaceFdb(nl, { index, mac: someone, remote: ip('10.9.0.4'), vni: 11, port: 4790 });
  const table = listFdb(nl, index);
  assert.deepEqual(
    table.filter(({ mac }) => mac === anyone).map(({ remote }) => remote),
    [ip('10.9.0.2'), ip('10.9.0.3')],
  );
  assert.deepEqual(
    table.filter(({ mac }) => mac === someone).map(({ remote, vni, port }) => [remote, vni, port]),
    [[ip('10.9.0.4'), 11, 4790]],
  );
  deleteFdb(nl, { index, mac: someone });
  assert.doesNotMatch(at.run('bridge', 'fdb', 'show', 'dev', 'overlay'), /02:00:00:00:00:05/);
  assert.throws(() => deleteFdb(nl, { index, mac: someone }), { code: 'ENOENT' });
  nl.close();
});

test('filters judge packets, change in place under traffic and are listed with their programs', () => {
  const { at, nl, index } = node('filter');
  const [pass, drop] = [verdictProgram(0), verdictProgram(2)];
  ensureClsact(nl, index);
  ensureClsact(nl, index);
  assert.deepEqual(
    listQdiscs(nl, index)
      .map(({ kind }) => kind)
      .filter((kind) => kind === 'clsact'),
    ['clsact'],
  );
  const place = { index, direction: 'egress', priority: 1, handle: 1 } as const;
  const sent = () => Number(at.ip('-s link show far')[0].stats64.rx.packets);
  const shout = () => at.attempt('ping', '-c1', '-W1', '-b', '10.9.0.255');
  addFilter(nl, { ...place, programFd: drop, name: 'tb_drop' });
  const before = sent();
  shout();
  assert.equal(sent(), before);
  assert.throws(() => addFilter(nl, { ...place, programFd: pass, name: 'tb_pass' }), { code: 'EEXIST' });
  replaceFilter(nl, { ...place, programFd: pass, name: 'tb_pass' });
  shout();
  assert.ok(sent() > before);
  assert.deepEqual(
    listFilters(nl, index, 'egress').map(({ tag: _tag, ...filter }) => filter),
    [{ ...place, kind: 'bpf', name: 'tb_pass', programId: programInfo(pass).id, directAction: true }],
  );
  assert.deepEqual(listFilters(nl, index, 'ingress'), []);
  assert.match(at.run('tc', 'filter', 'show', 'dev', 'near', 'egress'), /tb_pass direct-action/);
  deleteFilter(nl, place);
  assert.throws(() => deleteFilter(nl, place), { code: 'ENOENT' });
  assert.throws(
    () => addFilter(nl, { ...place, programFd: 0, name: 'tb_none' }),
    /Cannot add egress filter tb_none/,
  );
  deleteClsact(nl, index);
  assert.deepEqual(listFilters(nl, index, 'egress'), []);
  for (const fd of [pass, drop]) closeSync(fd);
  nl.close();
});

test('a monitor tells of every kind of change, and a port leaving its bridge is no deleted link', async (t) => {
  const { at, nl, index } = node('monitor');
  const events: KernelEvent[] = [];
  const watch = at.inside(() =>
    monitor(['link', 'address', 'route', 'neighbour', 'rule', 'filter'], (event) => events.push(event)),
  );
  t.after(() => watch.close());
  addBridge(nl, { name: 'fabric', up: true });
  const far = getLink(nl, 'far').index;
  setLink(nl, far, { master: getLink(nl, 'fabric').index });
  setLink(nl, far, { master: 0 });
  addAddress(nl, { index, address: parseInterfaceAddress('10.10.0.1/24') });
  addRoute(nl, { prefix: net('10.11.0.0/16'), nextHops: [{ index }] });
  addRule(nl, { family: 4, priority: 77 });
  at.run('ip', 'neigh', 'add', '10.9.0.5', 'lladdr', '02:00:00:00:00:05', 'dev', 'near');
  ensureClsact(nl, index);
  deleteClsact(nl, index);
  deleteLink(nl, 'fabric');
  await until(() => events.some((event) => event.kind === 'link' && event.change === 'deleted'));
  const seen = events.map(
    (event) => `${event.kind} ${'change' in event ? event.change : ''} ${objectOf(event)}`,
  );
  for (const wanted of [
    'link new fabric',
    'address new 10.10.0.1/24',
    'route new 10.11.0.0/16',
    'rule new 77',
    `neighbour new ${ip('10.9.0.5')}`,
    `filter deleted ${index}`,
  ]) {
    assert.ok(seen.includes(wanted), `${wanted} in ${seen}`);
  }
  assert.deepEqual(
    seen.filter((text) => text.startsWith('link deleted')),
    ['link deleted fabric'],
  );
  watch.close();
  watch.close();
  const count = events.length;
  deleteLink(nl, 'near');
  await delay(50);
  assert.equal(events.length, count);
  nl.close();
});

test('a monitor that cannot keep up reports the overrun, goes on, and a dump tells the rest', async (t) => {
  const { at, nl, index } = node('overrun');
  const events: KernelEvent[] = [];
  const watch = at.inside(() => monitor(['route'], (event) => events.push(event), { receiveBuffer: 16_384 }));
  t.after(() => watch.close());
  // Synchronous, so that nobody reads meanwhile.
  nl.batch((batch) => {
    for (let n = 0; n < 2000; n++) {
      addRoute(batch, { prefix: net(`10.${20 + (n >> 8)}.${n & 255}.0/24`), nextHops: [{ index }] });
    }
  });
  await until(() => events.some(({ kind }) => kind === 'overrun'));
  assert.ok(events.length < 2000);
  assert.equal(listRoutes(nl, { protocol: 111 }).length, 2000);
  await delay(20);
  const before = events.length;
  addRoute(nl, { prefix: net('10.99.0.0/16'), nextHops: [{ index }] });
  await until(() => events.length > before);
  const last = events.at(-1);
  assert.equal(last?.kind === 'route' && formatPrefix(last.route.prefix), '10.99.0.0/16');
  watch.close();
  nl.close();
});

test('a slow change runs in the pool while others work; the socket is refused meanwhile', async () => {
  const { at, nl } = node('async');
  const other = at.inside(openNetlink);
  const deletion = nl.applyAsync(deleteLinkRequest('near'));
  assert.throws(() => getLink(nl, 'lo'), /an asynchronous request is under way/);
  assert.equal(getLink(other, 'lo').index, 1);
  await deletion;
  assert.deepEqual(at.ip('link').length, 1);
  await assert.rejects(nl.applyAsync(deleteLinkRequest('near')), { code: 'ENODEV' });
  for (const socket of [nl, other]) socket.close();
});

test('a link is gone for everybody as soon as its deletion is announced', async () => {
  const { at, nl, index } = node('deletion');
  await at.inside(() => startDeletion(index, 'veth')).gone;
  assert.equal(findLink(nl, 'near'), undefined);
  assert.equal(findLink(nl, 'far'), undefined);
  await assert.rejects(at.inside(() => startDeletion('lo', 'veth')).gone, { code: 'ENODEV' });
  await assert.rejects(at.inside(() => startDeletion(index, 'veth')).gone, { code: 'ENODEV' });
  nl.close();
});

test('links that are to go at the same time go together, each with its own answer, and no other goes with them', async () => {
  const { at, nl } = node('together');
  const names = Array.from({ length: 40 }, (_, i) => `pair${i}`);
  const made = names.map((name) => addVeth(nl, { name, peer: { name: `${name}far` } }).index);
  const began = performance.now();
  const answers = at.inside(() => ({
    gone: Promise.allSettled(
      [...made, 987_654, ...made.slice(0, 2)].map((each) => startDeletion(each, 'veth').gone),
    ),
  }));
  const settled = await answers.gone;
  // One after the other they take 20 ms each.
  assert.equal(performance.now() - began < 400, true);
  assert.deepEqual(
    settled.slice(0, 40).filter(({ status }) => status === 'rejected'),
    [],
  );
  assert.match(String(settled[40]?.status === 'rejected' && settled[40].reason), /ENODEV/);
  assert.deepEqual(
    settled.slice(41).map(({ status }) => status),
    ['fulfilled', 'fulfilled'],
  );
  assert.deepEqual(
    listLinks(nl).map(({ name }) => name),
    ['lo', 'far', 'near'],
  );
  nl.close();
});

test('links are deleted in their own namespaces at the same time', async () => {
  const [one, two] = [node('twins1'), node('twins2')];
  const add = ({ nl }: typeof one, name: string) => addVeth(nl, { name, peer: { name: `${name}far` } }).index;
  const doomed = [one, two].map((each) => ['a', 'b'].map((name) => add(each, name)));
  const gone = [one, two].map(({ at }, which) =>
    at.inside(() => (doomed[which] ?? []).map((index) => startDeletion(index, 'veth'))),
  );
  await Promise.all(gone.flat().map((deletion) => deletion.gone));
  for (const { nl } of [one, two]) {
    assert.deepEqual(
      listLinks(nl, { kind: 'veth' }).map(({ name }) => name),
      ['far', 'near'],
    );
    nl.close();
  }
});

async function until(holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 5) {
    assert.ok(waited < 30_000, 'waited in vain');
    await delay(5);
  }
}

function objectOf(event: KernelEvent): string {
  switch (event.kind) {
    case 'link':
      return event.link.name;
    case 'address':
      return formatPrefix(event.address.address);
    case 'route':
      return formatPrefix(event.route.prefix);
    case 'neighbour':
      return String(event.neighbour.address);
    case 'rule':
      return String(event.rule.priority);
    case 'filter':
      return String(event.index);
    case 'overrun':
      return '';
  }
}
