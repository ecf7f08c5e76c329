import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import type { Router } from './router.ts';
import { Tombolo } from './tombolo.ts';
import { eventually, throughout } from './waiting.ts';

const lab = new Lab('bgpdyn');
const us = lab.router('us', 1);
const others = [2, 3, 4].map((number) => lab.router(`r${number}`, number));

afterEach(() => lab.reset());
after(() => lab.close());

function bird(router: Router, asn: number): Bird {
  return new Bird(
    router,
    `router id ${router.ipv4};
protocol device {}
protocol static { ipv4; route 10.${asn % 100}.0.0/24 blackhole; }
protocol bgp tombolo {
  local ${router.ipv4} as ${asn};
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import all; export all; };
}`,
  );
}

const ours = (range: Record<string, unknown>) =>
  JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    ranges: [{ name: 'rack', prefix: '10.99.0.0/24', asn: 'external', ...range }],
  });

test('peers of a range come without being configured, and are forgotten when they go', async () => {
  const tombolo = new Tombolo(us, ours({}));
  const peers = others.map((router, index) => bird(router, 65_002 + index));
  for (const router of others) await eventually(router.name, () => tombolo.isUp(router.ipv4));
  await eventually('they hear of each other', () => peers.every((peer) => peer.learned(4).length === 2));
  await peers[0]?.daemon.kill();
  await eventually('forgotten', () => tombolo.neighbour(others[0]?.ipv4 ?? '') === undefined);
  await eventually('their routes too', () => peers[1]?.learned(4).length === 1);
});

test('a range takes no more than its limit', async () => {
  const tombolo = new Tombolo(us, ours({ limit: 2 }));
  others.forEach((router, index) => {
    bird(router, 65_002 + index);
  });
  await eventually(
    'two',
    () => tombolo.status().neighbours.filter(({ state }) => state === 'Established').length === 2,
  );
  await throughout('two', 3_000, () => tombolo.status().neighbours.length === 2);
  assert.match(tombolo.daemon.log, /range is full/);
});

test('a range of internal peers takes no external one, and tells it why', async () => {
  const tombolo = new Tombolo(us, ours({ asn: 'internal' }));
  const [first, second] = others as [Router, Router];
  const external = bird(first, 65_002);
  bird(second, 65_001);
  await eventually('the internal one', () => tombolo.isUp(second.ipv4));
  await eventually('refused', () =>
    /Received: Bad peer AS/.test(external.birdc('show', 'protocols', 'all', 'tombolo')),
  );
});

test('we are a dynamic neighbour of FRR, whichever address we dial from', async () => {
  const [router] = others as [Router];
  const peer = new Frr(
    router,
    `router bgp 65002
 bgp router-id 2.2.2.2
 no bgp ebgp-requires-policy
 neighbor rack peer-group
 neighbor rack remote-as external
 bgp listen range 10.99.0.0/24 peer-group rack`,
  );
  const neighbour = { address: router.ipv4, asn: 65002, connectRetryTime: 1, sourceAddress: '10.99.0.77' };
  us.namespace.run('ip', 'address', 'add', '10.99.0.77/24', 'dev', 'eth0');
  const tombolo = new Tombolo(
    us,
    JSON.stringify({ asn: 65001, routerId: '1.1.1.1', neighbours: [neighbour] }),
  );
  await eventually('established', () => tombolo.isUp(router.ipv4));
  assert.ok(peer.isUp('10.99.0.77'));
});
