import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { after, test } from 'node:test';
import { parseIP } from '../../src/address/ip.ts';
import { parseMac } from '../../src/address/mac.ts';
import { formatPrefix, parseInterfaceAddress, parsePrefix } from '../../src/address/prefix.ts';
import { addAddress, deleteAddress, listAddresses } from '../../src/netlink/address.ts';
import { addBridge } from '../../src/netlink/bridge.ts';
import { addIpvlan } from '../../src/netlink/ipvlan.ts';
import { deleteLink, findLink, getLink, listLinks, setLink } from '../../src/netlink/link.ts';
import { addMacvlan } from '../../src/netlink/macvlan.ts';
import { openNamespace } from '../../src/netlink/namespace.ts';
import {
  addProxy,
  deleteProxy,
  listNeighbours,
  listProxies,
  replaceNeighbour,
} from '../../src/netlink/neighbour.ts';
import { addRoute, deleteRoute, listRoutes, lookUpRoute, replaceRoute } from '../../src/netlink/route.ts';
import { type Netlink, openNetlink } from '../../src/netlink/socket.ts';
import { addVeth } from '../../src/netlink/veth.ts';
import { addVxlan } from '../../src/netlink/vxlan.ts';
import { KERNEL } from './kernel.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('netlink');
after(() => namespaces.close());

const ip = parseIP;
const net = parsePrefix;
const at = parseInterfaceAddress;

/** Two namespaces joined by a veth pair `left`-`right`, both up, with 10.9.0.1/24 and .2, fd09::1/64 and ::2. */
function pair(name: string): { left: TestNamespace; right: TestNamespace; nl: Netlink; index: number } {
  const [left, right] = [namespaces.create(`${name}l`), namespaces.create(`${name}r`)];
  const [nl, other] = [left.inside(openNetlink), right.inside(openNetlink)];
  const namespace = openNamespace(right.path);
  const { index, parent = 0 } = addVeth(nl, { name: 'left', up: true, peer: { name: 'right', namespace } });
  closeSync(namespace);
  nl.batch((batch) => {
    addAddress(batch, { index, address: at('10.9.0.1/24') });
    addAddress(batch, { index, address: at('fd09::1/64'), noDad: true });
  });
  other.batch((batch) => {
    setLink(batch, parent, { up: true });
    addAddress(batch, { index: parent, address: at('10.9.0.2/24') });
    addAddress(batch, { index: parent, address: at('fd09::2/64'), noDad: true });
  });
  other.close();
  return { left, right, nl, index };
}

test('a veth whose peer is born in another namespace carries both families', () => {
  const { left, right, nl } = pair('veth');
  assert.ok(left.pings('10.9.0.2'));
  assert.ok(right.pings('fd09::1'));
  assert.equal(getLink(nl, 'left').kind, 'veth');
  assert.equal(right.ip('link show right')[0].ifname, 'right');
  nl.close();
});

test('a link is born as wanted, changed, renamed, found and deleted', () => {
  const node = namespaces.create('link');
  const nl = node.inside(openNetlink);
  const mac = parseMac('02:00:00:00:00:07');
  const { index } = addVeth(nl, {
    name: 'one',
    mtu: 1400,
    mac,

    peer: { name: 'two', mtu: 1300 },
  });
  setLink(nl, index, { alias: 'the first' });
  const link = getLink(nl, index);
  assert.deepEqual(
    [link.name, link.mtu, link.mac, link.alias, link.up],
    ['one', 1400, mac, 'the first', false],
  );
  assert.equal(getLink(nl, 'two').mtu, 1300);
  assert.equal(getLink(nl, 'two').index, link.parent);
  setLink(nl, index, { name: 'uno', up: true, alias: '', mtu: 1280 });
  const changed = getLink(nl, 'uno');
  assert.deepEqual([changed.index, changed.alias, changed.up, changed.mtu], [index, undefined, true, 1280]);
  assert.equal(findLink(nl, 'one'), undefined);
  assert.throws(() => setLink(nl, 'uno', { name: 'one' }), /name it by its index/);
  deleteLink(nl, 'uno');
  assert.deepEqual(
    listLinks(nl).map(({ name }) => name),
    ['lo'],
  );
  nl.close();
});

test('bridges take ports, and a dump can be restricted to them or to a kind', () => {
  const node = namespaces.create('bridge');
  const nl = node.inside(openNetlink);
  addBridge(nl, { name: 'fabric', up: true });
  const bridge = getLink(nl, 'fabric');
  const { index } = addVeth(nl, { name: 'port', peer: { name: 'host' } });
  setLink(nl, index, { master: bridge.index });
  assert.deepEqual(
    listLinks(nl, { master: bridge.index }).map(({ name }) => name),
    ['port'],
  );
  assert.deepEqual(
    listLinks(nl, { kind: 'bridge' }).map(({ name }) => name),
    ['fabric'],
  );
  setLink(nl, index, { master: 0 });
  assert.equal(getLink(nl, 'port').master, undefined);
  nl.close();
});

test('macvlan and VXLAN devices are made as asked', () => {
  const { left, right, nl, index } = pair('kinds');
  const namespace = openNamespace(right.path);
  addMacvlan(nl, { name: 'child', parent: index, mode: 'bridge', namespace });
  closeSync(namespace);
  assert.equal(right.ip('-d link show child')[0].linkinfo.info_data.mode, 'bridge');
  addVxlan(nl, { name: 'overlay', tunnel: { by: 'packet' }, port: 4790, sourcePorts: [50000, 50099] });
  const [overlay] = left.ip('-d link show overlay');
  assert.equal(overlay.linkinfo.info_data.external, true);
  assert.equal(overlay.linkinfo.info_data.port, 4790);
  assert.deepEqual(overlay.linkinfo.info_data.port_range, { low: 50000, high: 50099 });
  addVxlan(nl, {
    name: 'vni7',
    tunnel: { by: 'vni', vni: 7 },
    parent: index,
    local: ip('10.9.0.1'),
    remote: ip('10.9.0.2'),
  });
  const [vni7] = left.ip('-d link show vni7');
  assert.deepEqual(
    [vni7.linkinfo.info_data.id, vni7.linkinfo.info_data.remote, vni7.linkinfo.info_data.learning],
    [7, '10.9.0.2', false],
  );
  nl.close();
});

if (KERNEL.ipvlan) {
  test('ipvlan devices are made as asked', () => {
    const { left, right, nl, index } = pair('ipvlan');
    const namespace = openNamespace(right.path);
    addIpvlan(nl, { name: 'sub', parent: index, mode: 'l2', namespace });
    closeSync(namespace);
    addIpvlan(nl, { name: 'apart', parent: index, mode: 'l2', isolation: 'private' });
    const data = [right.ip('-d link show sub')[0], left.ip('-d link show apart')[0]].map(
      ({ linkinfo }) => linkinfo.info_data,
    );
    assert.deepEqual(
      data.map(({ mode }) => mode),
      ['l2', 'l2'],
    );
    nl.close();
  });
} else {
  test('a kind of device that this kernel lacks, ipvlan, is refused by name', () => {
    const { nl, index } = pair('noipvlan');
    assert.throws(() => addIpvlan(nl, { name: 'sub', parent: index, mode: 'l2' }), {
      code: 'EOPNOTSUPP',
      message: 'Cannot add ipvlan link sub: EOPNOTSUPP (Unknown device type)',
    });
    nl.close();
  });
}

test('the kernel explains a refusal and names the attribute', () => {
  const node = namespaces.create('refusal');
  const nl = node.inside(openNetlink);
  assert.throws(() => getLink(nl, 'absent'), { code: 'ENODEV', message: 'Cannot get link absent: ENODEV' });
  const { index } = addVeth(nl, { name: 'a', peer: { name: 'b' } });
  assert.throws(() => addVeth(nl, { name: 'a', peer: { name: 'c' } }), { code: 'EEXIST' });
  assert.throws(
    () => setLink(nl, index, { mtu: 100_000 }),
    /Cannot set link \d+: EINVAL \(mtu greater than device maximum\)/,
  );
  assert.throws(
    () => addRoute(nl, { prefix: net('10.0.0.0/8'), nextHops: [{ gateway: ip('192.0.2.1') }] }),
    /Cannot add route 10\.0\.0\.0\/8: ENETUNREACH \(Nexthop has invalid gateway\)/,
  );
  assert.throws(
    () => addAddress(nl, { index, address: at('10.0.0.1/24'), label: 'a-name-longer-than-sixteen' }),
    /attribute IFA_LABEL/,
  );
  nl.close();
});

test('a batch does all it can and reports the first refusal', () => {
  const { nl, index } = pair('batch');
  assert.throws(
    () =>
      nl.batch((batch) => {
        addAddress(batch, { index, address: at('10.9.1.1/24') });
        addAddress(batch, { index: 999, address: at('10.9.2.1/24') });
        addAddress(batch, { index, address: at('10.9.3.1/24') });
      }),
    /Cannot add address 10\.9\.2\.1\/24 of link 999: ENODEV/,
  );
  const texts = listAddresses(nl, { index, family: 4 }).map(({ address }) => formatPrefix(address));
  assert.deepEqual(texts.sort(), ['10.9.0.1/24', '10.9.1.1/24', '10.9.3.1/24']);
  nl.close();
});

test('a batch of thousands of routes arrives whole', () => {
  const { nl, index } = pair('bulk');
  nl.batch((batch) => {
    for (let n = 0; n < 5000; n++) {
      const prefix = net(`10.${100 + (n >> 8)}.${n & 255}.0/24`);
      addRoute(batch, { prefix, nextHops: [{ index, gateway: ip('10.9.0.2') }] });
    }
  });
  assert.equal(listRoutes(nl, { protocol: 111 }).length, 5000);
  nl.close();
});

test('addresses keep their scope and flags', () => {
  const { nl, index } = pair('address');
  addAddress(nl, { index, address: at('169.254.7.7/32'), scope: 'link' });
  addAddress(nl, { index, address: at('fd09:1::1/64'), noDad: true, noPrefixRoute: true });
  const all = listAddresses(nl, { index });
  const of = (text: string) => all.find(({ address }) => formatPrefix(address) === text);
  assert.equal(of('169.254.7.7/32')?.scope, 'link');
  const quiet = of('fd09:1::1/64');
  assert.deepEqual([quiet?.noDad, quiet?.noPrefixRoute, quiet?.tentative], [true, true, false]);
  assert.deepEqual(
    listRoutes(nl, { family: 6, table: 254 }).filter(({ prefix }) => formatPrefix(prefix) === 'fd09:1::/64'),
    [],
  );
  deleteAddress(nl, { index, address: at('169.254.7.7/32') });
  assert.throws(() => deleteAddress(nl, { index, address: at('169.254.7.7/32') }), { code: 'EADDRNOTAVAIL' });
  nl.close();
});

test('a route is installed as described, replaced in place and deleted', () => {
  const { left, nl, index } = pair('route');
  const prefix = net('10.50.0.0/16');
  const route = {
    prefix,
    nextHops: [{ index, gateway: ip('10.9.0.2') }],
    mtu: 1400,
    advertisedMss: 1360,
    priority: 50,
  };
  addRoute(nl, { ...route, preferredSource: ip('10.9.0.1') });
  const shown = left.ip('route show 10.50.0.0/16')[0];
  assert.deepEqual(
    [shown.gateway, shown.protocol, shown.metric, shown.prefsrc, shown.metrics],
    ['10.9.0.2', '111', 50, '10.9.0.1', [{ mtu: 1400, advmss: 1360 }]],
  );
  assert.throws(() => addRoute(nl, route), { code: 'EEXIST' });
  replaceRoute(nl, { ...route, mtu: 1300 });
  const [installed, ...others] = listRoutes(nl, { protocol: 111 });
  assert.equal(others.length, 0);
  assert.deepEqual([installed?.mtu, installed?.priority, installed?.table], [1300, 50, 254]);
  deleteRoute(nl, { prefix, priority: 50 });
  assert.throws(() => deleteRoute(nl, { prefix }), { code: 'ESRCH' });
  nl.close();
});

test('routes of every type, of other tables and on link are told apart by filtered dumps', () => {
  const { nl, index } = pair('filter');
  addRoute(nl, { prefix: net('10.60.0.0/16'), type: 'blackhole' });
  addRoute(nl, { prefix: net('fd60::/16'), type: 'unreachable' });
  addRoute(nl, {
    prefix: net('0.0.0.0/0'),
    table: 1234,
    nextHops: [{ index, gateway: ip('203.0.113.1'), onLink: true }],
  });
  addRoute(nl, { prefix: net('10.61.0.0/16'), protocol: 4, nextHops: [{ index }] });
  const own = listRoutes(nl, { protocol: 111 }).map(({ prefix, type }) => `${type} ${formatPrefix(prefix)}`);
  assert.deepEqual(own.sort(), ['blackhole 10.60.0.0/16', 'unicast 0.0.0.0/0', 'unreachable fd60::/16']);
  const [elsewhere] = listRoutes(nl, { table: 1234 });
  assert.deepEqual([elsewhere?.table, elsewhere?.nextHops[0]?.onLink], [1234, true]);
  assert.deepEqual(listRoutes(nl, { table: 4321 }), []);
  assert.deepEqual(
    listRoutes(nl, { index, family: 4, table: 254 }).map(
      ({ prefix, scope }) => `${formatPrefix(prefix)} ${scope}`,
    ),
    ['10.9.0.0/24 link', '10.61.0.0/16 link'],
  );
  assert.deepEqual(
    listRoutes(nl, { type: 'blackhole' }).map(({ prefix }) => formatPrefix(prefix)),
    ['10.60.0.0/16'],
  );
  nl.close();
});

test('several next hops share a route, in both families', () => {
  const { nl, index } = pair('multi');
  const hops = (a: string, b: string) => [
    { index, gateway: ip(a), weight: 1 },
    { index, gateway: ip(b), weight: 3 },
  ];
  addRoute(nl, { prefix: net('10.70.0.0/16'), nextHops: hops('10.9.0.2', '10.9.0.3') });
  addRoute(nl, { prefix: net('fd70::/16'), nextHops: hops('fd09::2', 'fd09::3') });
  for (const route of listRoutes(nl, { protocol: 111 })) {
    assert.deepEqual(
      route.nextHops.map(({ weight }) => weight),
      [1, 3],
      formatPrefix(route.prefix),
    );
  }
  assert.throws(
    () => addRoute(nl, { prefix: net('10.71.0.0/16'), nextHops: [{ index, weight: 300 }, { index }] }),
    {
      message: 'Cannot write next hop: the weight must be 1 to 256 (value 300)',
    },
  );
  nl.close();
});

test('an IPv4 route goes via an IPv6 router', () => {
  const { left, right, nl, index } = pair('via');
  right.run('ip', 'addr', 'add', '10.80.0.1/32', 'dev', 'lo');
  // The link-local source of a question would be tentative for another second.
  const mac = parseMac(right.ip('link show right')[0].address);
  replaceNeighbour(nl, { index, address: ip('fd09::2'), mac });
  addRoute(nl, { prefix: net('10.80.0.1/32'), nextHops: [{ index, gateway: ip('fd09::2') }] });
  assert.ok(left.pings('10.80.0.1'));
  assert.equal(listRoutes(nl, { protocol: 111 })[0]?.nextHops[0]?.gateway, ip('fd09::2'));
  nl.close();
});

test('a look-up tells the route of the table, not the address asked for', () => {
  const { nl, index } = pair('lookup');
  addRoute(nl, { prefix: net('10.90.0.0/16'), nextHops: [{ index, gateway: ip('10.9.0.2') }] });
  assert.equal(formatPrefix(lookUpRoute(nl, ip('10.90.1.2')).prefix), '10.90.0.0/16');
  assert.equal(formatPrefix(lookUpRoute(nl, ip('fd09::77')).prefix), 'fd09::/64');
  assert.throws(() => lookUpRoute(nl, ip('192.0.2.1')), /Cannot look up route to 192\.0\.2\.1: ENETUNREACH/);
  nl.close();
});

test('permanent neighbours are used without asking, and proxies answer for others', () => {
  const { left, right, nl, index } = pair('neighbour');
  const mac = parseMac(right.ip('link show right')[0].address);
  replaceNeighbour(nl, { index, address: ip('10.9.0.9'), mac });
  replaceNeighbour(nl, { index, address: ip('fd09::9'), mac });
  right.run('ip', 'addr', 'add', '10.9.0.9/32', 'dev', 'lo');
  right.run('sysctl', '-qw', 'net.ipv4.conf.right.arp_ignore=8');
  assert.ok(left.pings('10.9.0.9'));
  const known = listNeighbours(nl, { index }).filter(({ state }) => state === 'permanent');
  assert.deepEqual(
    known.map((entry) => entry.mac),
    [mac, mac],
  );
  addProxy(nl, { index, address: ip('10.9.0.55') });
  assert.deepEqual(
    listProxies(nl, { index }).map(({ address }) => address),
    [ip('10.9.0.55')],
  );
  deleteProxy(nl, { index, address: ip('10.9.0.55') });
  assert.deepEqual(listProxies(nl), []);
  nl.close();
});

test('a link moves to another namespace under a new name in one message', () => {
  const { left, right, nl, index } = pair('move');
  const namespace = openNamespace(right.path);
  setLink(nl, index, { up: false });
  setLink(nl, index, { namespace, name: 'fresh' });
  closeSync(namespace);
  assert.equal(left.ip('link').length, 1);
  assert.equal(right.ip('link show fresh').length, 1);
  nl.close();
});

test('a dump under churn is whole or says that it is not', async () => {
  const { left, nl, index } = pair('churn');
  nl.batch((batch) => {
    for (let n = 0; n < 4000; n++) {
      addRoute(batch, {
        prefix: net(`10.${110 + (n >> 8)}.${n & 255}.0/24`),
        priority: 9,
        nextHops: [{ index }],
      });
    }
  });
  const churn = left.start('sh', [
    '-c',
    'i=0; while [ $i -lt 400 ]; do ip route add 10.200.0.0/24 dev left; ip route del 10.200.0.0/24; i=$((i+1)); done',
  ]);
  let running = true;
  churn.once('exit', () => {
    running = false;
  });
  let dumps = 0;
  while (running) {
    const stable = listRoutes(nl, { protocol: 111 }).filter(({ priority }) => priority === 9);
    assert.equal(stable.length, 4000);
    dumps++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(dumps > 5, `${dumps} dumps`);
  nl.close();
});

test('a closed socket says so', () => {
  const nl = openNetlink();
  nl.close();
  nl.close();
  assert.throws(() => getLink(nl, 'lo'), /Cannot use netlink socket: it is closed/);
});
