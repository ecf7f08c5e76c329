import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import type { Router } from './router.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

// Two nodes announce one address to FRR; FRR tells us of both, and we tell BIRD.
const lab = new Lab('bgpaddpath');
const us = lab.router('us', 1);
const hub = lab.router('hub', 2);
const last = lab.router('last', 3);
const nodes = [4, 5].map((number) => lab.router(`node${number}`, number)) as [Router, Router];

after(() => lab.close());

const VIP = '10.96.0.10/32';
const hops = nodes.map(({ ipv4 }) => ipv4).sort();

function bird(router: Router, towards: Router, statics: string, channel: string): Bird {
  return new Bird(
    router,
    `router id ${router.ipv4};
protocol device {}
protocol static { ipv4; ${statics} }
protocol bgp up {
  local ${router.ipv4} as 64512;
  neighbor ${towards.ipv4} as 64512;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export where source = RTS_STATIC; ${channel} };
}`,
  );
}

const frr = () =>
  [
    'router bgp 64512',
    `bgp router-id ${hub.ipv4}`,
    ...[...nodes, us].flatMap(({ ipv4 }) => [
      `neighbor ${ipv4} remote-as 64512`,
      `neighbor ${ipv4} timers connect 1`,
    ]),
    'address-family ipv4 unicast',
    ...nodes.map(({ ipv4 }) => `neighbor ${ipv4} route-reflector-client`),
    `neighbor ${us.ipv4} addpath-tx-all-paths`,
  ].join('\n');

const config = () =>
  JSON.stringify({
    asn: 64512,
    routerId: us.ipv4,
    defaults: { asn: 64512, connectRetryTime: 1, families: [{ family: 'ipv4', addPath: 'both' }] },
    neighbours: [
      { name: 'hub', address: hub.ipv4 },
      { name: 'last', address: last.ipv4, reflectorClient: true },
    ],
  });

/** The identifiers in front of the address, in the bytes that went from one to the other. */
function pathIds(file: string, from: Router, to: Router): Set<string> {
  const filter = `ip.src == ${from.ipv4} && ip.dst == ${to.ipv4}`;
  const words = ['-r', file, '-Y', filter, '-T', 'fields', '-e', 'tcp.payload'];
  const { stdout } = spawnSync('tshark', words, { encoding: 'utf8' });
  return new Set([...stdout.matchAll(/([0-9a-f]{8})200a60000a/g)].map(([, id = '']) => id));
}

test('paths come in and go out with their identifiers, and go one by one', async () => {
  const file = join(us.directory, 'sessions.pcap');
  const words = ['-i', 'eth0', '--immediate-mode', '-U', '-w', file, 'tcp', 'port', '179'];
  const capture = us.start('tcpdump', 'tcpdump', words);
  await eventually('the capture', () => /listening on/.test(capture.log));
  const tombolo = new Tombolo(us, config());
  new Frr(hub, frr());
  const [first] = nodes.map((node) => bird(node, hub, `route ${VIP} blackhole;`, ''));
  const seen = bird(last, us, '', 'add paths rx;');
  const told = () => {
    const text = seen.birdc('show', 'route', 'all', VIP);
    return [...text.matchAll(/BGP\.next_hop: (\S+)/g)].map(([, hop = '']) => hop).sort();
  };
  await eventually('both paths in BIRD', () => told().join() === hops.join(), 60_000);
  assert.equal(tombolo.neighbour('hub')?.families[0]?.accepted, 2);
  assert.equal(tombolo.neighbour('last')?.families[0]?.advertised, 2);

  await first?.daemon.kill();
  await eventually('one path in BIRD', () => told().join() === nodes[1].ipv4);
  assert.equal(tombolo.neighbour('hub')?.families[0]?.accepted, 1);

  await sleep(200);
  await capture.stop('SIGINT');
  const ours = pathIds(file, us, last);
  assert.equal(ours.size, 2, `two identifiers of ours: ${[...ours].join()}`);
  // FRR has a third one while it does not know yet that there will be several.
  const theirs = pathIds(file, hub, us);
  assert.ok(theirs.size >= 2, `two identifiers of FRR: ${[...theirs].join()}`);
});
