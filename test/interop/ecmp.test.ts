import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bird } from './bird.ts';
import { Lab } from './lab.ts';
import type { Router } from './router.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

// Four nodes announce one address to a reflector; the packets of a client reach all four.
const lab = new Lab('bgpecmp');
const reflector = lab.router('rr', 1);
const client = lab.router('client', 2);
const nodes = [3, 4, 5, 6].map((number) => lab.router(`n${number}`, number));

after(() => lab.close());

const VIP = '10.96.0.10';
const FLOWS = 64;

client.namespace.run('sysctl', '-qw', 'net.ipv4.fib_multipath_hash_policy=1');
for (const { namespace } of nodes) namespace.run('ip', 'address', 'add', `${VIP}/32`, 'dev', 'lo');

function announce(router: Router): Bird {
  return new Bird(
    router,
    `router id ${router.ipv4};
protocol device {}
protocol direct { ipv4; interface "lo"; }
protocol bgp reflector {
  local ${router.ipv4} as 64512;
  neighbor ${reflector.ipv4} as 64512;
  connect delay time 1; connect retry time 1;
  ipv4 { import none; export where net = ${VIP}/32; next hop self; };
}`,
  );
}

const families = [{ family: 'ipv4', addPath: 'both' }];

function gateways(): string[] {
  const [route] = client.namespace.ip(`route show ${VIP} proto 111`);
  const objects = client.namespace.ip('nexthop show proto 111');
  const group = objects.find(({ id }) => id === route?.nhid)?.group ?? [{ id: route?.nhid }];
  return group.map(({ id }: { id: number }) => objects.find((one) => one.id === id)?.gateway).sort();
}

/** How many datagrams came to a port that nobody listens on. */
function arrived({ namespace }: Router): number {
  const [names = '', values = ''] = namespace.run('grep', '^Udp:', '/proc/net/snmp').split('\n');
  return Number(values.split(' ')[names.split(' ').indexOf('NoPorts')]);
}

/** One datagram from each of many ports. */
function send(): void {
  const script = `for port in $(seq 20000 ${20000 + FLOWS - 1}); do echo x | socat -u - UDP:${VIP}:9,sourceport=$port; done`;
  client.namespace.run('sh', '-c', script);
}

test('an address of four nodes has four ways in the client’s kernel, and packets take all of them', async () => {
  const ranges = [{ name: 'clients', prefix: '10.99.0.0/24', asn: 64512, reflectorClient: true, families }];
  new Tombolo(reflector, JSON.stringify({ asn: 64512, routerId: reflector.ipv4, ranges }));
  const peers = nodes.map(announce);
  const rr = { name: 'rr', address: reflector.ipv4, asn: 64512, connectRetryTime: 1, families };
  const config = { asn: 64512, routerId: client.ipv4, listen: [], kernel: { ranges: ['10.96.0.0/16'] } };
  new Tombolo(client, JSON.stringify({ ...config, neighbours: [rr] }));
  const all = nodes.map(({ ipv4 }) => ipv4);
  await eventually('four ways', () => gateways().join() === all.join(), 60_000);

  const before = nodes.map(arrived);
  send();
  const counts = nodes.map((node, index) => arrived(node) - (before[index] ?? 0));
  assert.equal(
    counts.reduce((sum, count) => sum + count, 0),
    FLOWS,
    'every datagram arrived',
  );
  for (const count of counts) assert.ok(count >= FLOWS / 16, `spread: ${counts.join()}`);

  await peers[0]?.daemon.kill();
  await eventually('three ways', () => gateways().join() === all.slice(1).join());
  const then = nodes.map(arrived);
  send();
  const left = nodes.map((node, index) => arrived(node) - (then[index] ?? 0));
  assert.equal(left[0], 0, 'none to the dead');
  assert.equal(
    left.reduce((sum, count) => sum + count, 0),
    FLOWS,
  );
});
