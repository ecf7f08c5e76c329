import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

// Two links with nothing but link-local addresses, and the same one at the far end of both.
const lab = new Lab('bgpunnum');
const us = lab.island('us');
const left = lab.island('left');
const right = lab.island('right');
const [toLeft, fromLeft] = lab.link(us, ['fe80::a/64'], left, ['fe80::1/64']);
const [toRight, fromRight] = lab.link(us, ['fe80::b/64'], right, ['fe80::1/64']);
us.namespace.run('ip', 'address', 'add', '10.1.0.1/32', 'dev', 'lo');
left.namespace.run('ip', 'address', 'add', '10.2.0.1/32', 'dev', 'lo');
right.namespace.run('ip', 'address', 'add', '10.3.0.1/32', 'dev', 'lo');
for (const { namespace } of [left, right]) namespace.run('ip', 'address', 'add', '10.9.9.9/32', 'dev', 'lo');

afterEach(() => lab.reset());
after(() => lab.close());

const families = [{ family: 'ipv4', extendedNextHop: true }, 'ipv6'];
const ours = () =>
  JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    networks: ['10.1.0.1/32'],
    kernel: { ranges: ['10.0.0.0/8'] },
    defaults: { asn: 'external', connectRetryTime: 1, families },
    neighbours: [
      { name: 'left', address: 'fe80::1', interface: toLeft, sourceAddress: 'fe80::a' },
      { name: 'right', address: 'fe80::1', interface: toRight, sourceAddress: 'fe80::b' },
    ],
  });

const frr = () => `router bgp 65002
 bgp router-id 2.2.2.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor fe80::a remote-as 65001
 neighbor fe80::a interface ${fromLeft}
 neighbor fe80::a timers connect 1
 neighbor fe80::a capability extended-nexthop
 address-family ipv4 unicast
  neighbor fe80::a activate
  network 10.2.0.1/32
  network 10.9.9.9/32`;

const bird = () => `router id 3.3.3.3;
protocol device {}
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol direct { ipv4; interface "lo"; }
protocol bgp tombolo {
  local fe80::1 as 65003;
  neighbor fe80::b%'${fromRight}' as 65001;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export all; extended next hop on; };
}`;

const gateways = (prefix: string): string[] => {
  const [route] = us.namespace.ip(`route show ${prefix} proto 111`);
  const hops = us.namespace.ip('nexthop list proto 111');
  const [object] = hops.filter(({ id }) => id === route?.nhid);
  const members = object?.group ? object.group.map((member: { id: number }) => member.id) : [object?.id];
  return hops
    .filter(({ id, group }) => group === undefined && members.includes(id))
    .map(({ gateway, dev }) => `${gateway}%${dev}`)
    .sort();
};

test('peers that have the same link-local address on different links are told apart, also in the kernel', async () => {
  const tombolo = new Tombolo(us, ours());
  const leftPeer = new Frr(left, frr(), { zebra: true });
  new Bird(right, bird());
  await eventually('both sessions', () => tombolo.isUp('left') && tombolo.isUp('right'));
  await eventually('left', () => gateways('10.2.0.1').join() === `fe80::1%${toLeft}`);
  await eventually('right', () => gateways('10.3.0.1').join() === `fe80::1%${toRight}`);
  const both = [`fe80::1%${toLeft}`, `fe80::1%${toRight}`].join();
  await eventually('both', () => gateways('10.9.9.9').join() === both);
  for (const address of ['10.2.0.1', '10.3.0.1', '10.9.9.9']) {
    await eventually(`an answer of ${address}`, () => us.namespace.pings(address, '-I', '10.1.0.1'));
  }
  // Their IPv4 route has our link-local address as its next hop.
  const [path] = leftPeer.json('show bgp ipv4 unicast 10.1.0.1/32').paths;
  assert.equal(path.nexthops[0].ip, 'fe80::a');

  us.namespace.run('ip', 'link', 'set', toLeft, 'down');
  await eventually('the right one alone', () => gateways('10.9.9.9').join() === `fe80::1%${toRight}`);
  assert.ok(us.namespace.pings('10.9.9.9', '-I', '10.1.0.1'));
  us.namespace.run('ip', 'link', 'set', toLeft, 'up');
  await eventually('both again', () => gateways('10.9.9.9').join() === both, 60_000);
});
