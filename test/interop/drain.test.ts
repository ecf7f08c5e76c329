import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

const lab = new Lab('bgpdrain');
const us = lab.router('us', 1);
const leaf = lab.router('leaf', 2);
const inside = lab.router('inside', 3);

after(() => lab.close());

const ours = (draining: boolean) =>
  JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    networks: ['10.1.0.0/24'],
    draining,
    defaults: { families: ['ipv4'], connectRetryTime: 1 },
    neighbours: [
      { name: 'leaf', address: leaf.ipv4, asn: 65002 },
      { name: 'inside', address: inside.ipv4, asn: 65001 },
    ],
  });

test('while it is drained, a node asks everybody to take other ways, and takes it back', async () => {
  const tombolo = new Tombolo(us, ours(false));
  const external = new Bird(
    leaf,
    `router id 2.2.2.2;
protocol device {}
protocol bgp tombolo {
  local ${leaf.ipv4} as 65002;
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export none; };
}`,
  );
  const internal = new Frr(
    inside,
    ['router bgp 65001', 'bgp router-id 3.3.3.3', `neighbor ${us.ipv4} remote-as 65001`].join('\n'),
  );
  const route = () => external.birdc('show', 'route', 'all', '10.1.0.0/24');
  const path = () => internal.json('show bgp ipv4 unicast 10.1.0.0/24').paths?.[0];
  await eventually('the route', () => /10\.1\.0\.0\/24/.test(route()) && path()?.locPrf === 100);
  assert.doesNotMatch(route(), /BGP\.community/);

  tombolo.configure(ours(true));
  await eventually('GRACEFUL_SHUTDOWN outside', () => /BGP\.community: \(65535,0\)/.test(route()));
  await eventually('and inside, with the lowest preference', () => {
    const said = path();
    return said?.locPrf === 0 && said.community?.string === 'graceful-shutdown';
  });

  tombolo.configure(ours(false));
  await eventually('the community is gone', () => !/BGP\.community/.test(route()));
  await eventually('the preference is back', () => path()?.locPrf === 100);
  for (const { established } of tombolo.status().neighbours) assert.equal(established, 1, 'no session ended');
});
