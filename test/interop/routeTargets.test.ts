import { after, test } from 'node:test';
import { GoBgp } from './goBgp.ts';
import { Lab } from './lab.ts';
import type { Router } from './router.ts';
import { Tombolo } from './tombolo.ts';
import { eventually, throughout } from './waiting.ts';

// Two nodes with virtual networks, and between them our reflector, which knows who wants which.
const lab = new Lab('bgprtc');
const us = lab.router('us', 1);
const left = lab.router('left', 2);
const right = lab.router('right', 3);

after(() => lab.close());

const families = ['ipv4-vpn', 'route-target'];

const gobgp = (router: Router) =>
  new GoBgp(
    router,
    `[global.config]
as = 64512
router-id = "${router.ipv4}"
[[neighbors]]
[neighbors.config]
neighbor-address = "${us.ipv4}"
peer-as = 64512
[neighbors.timers.config]
connect-retry = 1
idle-hold-time-after-reset = 1
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "l3vpn-ipv4-unicast"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "rtc"
`,
  );

const network = (peer: GoBgp, name: string, number: number) =>
  peer.gobgp('vrf', 'add', name, 'rd', `64512:${number}`, 'rt', 'both', `64512:${number}`);
const announce = (peer: GoBgp, name: string, prefix: string) => peer.gobgp('vrf', name, 'rib', 'add', prefix);
const knows = (peer: GoBgp, prefix: string) => peer.gobgp('global', 'rib', '-a', 'vpnv4').includes(prefix);

test('GoBGP gets the routes of the virtual networks it has, as it gets them, and no others', async () => {
  const client = { prefix: '10.99.0.0/24', asn: 64512, reflectorClient: true, families };
  const tombolo = new Tombolo(us, JSON.stringify({ asn: 64512, routerId: us.ipv4, ranges: [client] }));
  const [one, two] = [gobgp(left), gobgp(right)];
  await eventually('both sessions', () => [left, right].every(({ ipv4 }) => tombolo.isUp(ipv4)), 60_000);
  for (const [name, number] of [
    ['red', 1],
    ['blue', 2],
  ] as const) {
    network(one, name, number);
    announce(one, name, `10.7.${number}.0/24`);
  }
  network(two, 'red', 1);
  await eventually('red', () => knows(two, '10.7.1.0/24'));
  await throughout('no blue', 1_000, () => !knows(two, '10.7.2.0/24'));
  network(two, 'blue', 2);
  await eventually('blue', () => knows(two, '10.7.2.0/24'));
  announce(two, 'red', '10.8.1.0/24');
  await eventually('the other way round', () => knows(one, '10.8.1.0/24'));
  two.gobgp('vrf', 'del', 'blue');
  await eventually('our withdrawal', () => {
    const sent = tombolo.neighbour(right.ipv4)?.families.find(({ family }) => family === 'ipv4-vpn');
    return sent?.advertised === 1;
  });
});
