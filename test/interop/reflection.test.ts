import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import type { Router } from './router.ts';
import { Tombolo } from './tombolo.ts';
import { eventually, throughout } from './waiting.ts';

const lab = new Lab('bgprr');
const reflector = lab.router('rr', 1);
const [one, two, three, four, five, six] = [2, 3, 4, 5, 6, 7].map((number) =>
  lab.router(`r${number}`, number),
) as [Router, Router, Router, Router, Router, Router];

afterEach(() => lab.reset());
after(() => lab.close());

const VIP = '10.96.0.10/32';

function ours(changes: Record<string, unknown> = {}): string {
  const families = [{ family: 'ipv4-unicast', addPath: 'both' }];
  const clients = { name: 'clients', prefix: '10.99.0.0/24', asn: 64512, reflectorClient: true, families };
  return JSON.stringify({ asn: 64512, routerId: reflector.ipv4, ranges: [clients], ...changes });
}

function bird(router: Router, towards: Router, networks: readonly string[], channel = ''): Bird {
  const routes = networks.map((network) => `route ${network} blackhole;`).join(' ');
  return new Bird(
    router,
    `router id ${router.ipv4};
protocol device {}
protocol static { ipv4; ${routes} }
protocol bgp reflector {
  local ${router.ipv4} as 64512;
  neighbor ${towards.ipv4} as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import all; export where source = RTS_STATIC; ${channel} };
}`,
  );
}

function frr(
  router: Router,
  towards: Router,
  networks: readonly string[],
  lines: readonly string[] = [],
): Frr {
  return new Frr(
    router,
    [
      'router bgp 64512',
      `bgp router-id ${router.ipv4}`,
      'no bgp network import-check',
      `neighbor ${towards.ipv4} remote-as 64512`,
      `neighbor ${towards.ipv4} timers connect 1`,
      ...lines,
      'address-family ipv4 unicast',
      ...networks.map((network) => `network ${network}`),
    ].join('\n'),
  );
}

function tombolo(router: Router, networks: readonly string[]): Tombolo {
  const rr = { name: 'rr', address: reflector.ipv4, asn: 64512, families: ['ipv4-unicast'] };
  return new Tombolo(
    router,
    JSON.stringify({ asn: 64512, routerId: router.ipv4, listen: [], networks, neighbours: [rr] }),
  );
}

function hopsInFrr(peer: Frr): string[] {
  const { paths = [] } = peer.json(`show bgp ipv4 unicast ${VIP}`);
  return paths.flatMap((path: { nexthops: { ip: string }[] }) => path.nexthops.map(({ ip }) => ip)).sort();
}

function hopsInBird(peer: Bird): string[] {
  const text = peer.birdc('show', 'route', 'all', VIP);
  return [...text.matchAll(/BGP\.next_hop: (\S+)/g)].map(([, hop = '']) => hop).sort();
}

test('the address that four nodes announce keeps all four next hops through our reflector', async () => {
  new Tombolo(reflector, ours());
  const first = bird(one, reflector, [VIP, '10.244.1.0/26']);
  bird(two, reflector, [VIP, '10.244.2.0/26']);
  frr(three, reflector, [VIP, '10.244.3.0/26']);
  tombolo(four, [VIP, '10.244.4.0/26']);
  const watching = [frr(five, reflector, []), bird(six, reflector, [], 'add paths rx;')] as const;
  const nodes = [one, two, three, four].map(({ ipv4 }) => ipv4).sort();
  await eventually('all in FRR', () => hopsInFrr(watching[0]).join() === nodes.join());
  await eventually('all in BIRD', () => hopsInBird(watching[1]).join() === nodes.join());
  assert.equal(watching[0].learned(4).length, 5, 'the blocks of the nodes, too');
  // A node hears of the others' paths, never of its own.
  await eventually('one path in a node without add-path', () => hopsInBird(first).length <= 2);
  await first.daemon.kill();
  const left = nodes.filter((node) => node !== one.ipv4).join();
  await eventually('three in FRR', () => hopsInFrr(watching[0]).join() === left);
  await eventually('three in BIRD', () => hopsInBird(watching[1]).join() === left);
});

test('a route goes through two clusters and says where it has been', async () => {
  const other = { name: 'other', address: two.ipv4, asn: 64512, families: ['ipv4-unicast'] };
  const client = {
    name: 'a',
    address: one.ipv4,
    asn: 64512,
    reflectorClient: true,
    families: ['ipv4-unicast'],
  };
  new Tombolo(reflector, ours({ clusterId: '192.0.2.1', ranges: [], neighbours: [client, other] }));
  bird(one, reflector, ['10.244.1.0/26']);
  new Frr(
    two,
    [
      'router bgp 64512',
      `bgp router-id ${two.ipv4}`,
      'bgp cluster-id 192.0.2.2',
      ...[reflector, three].flatMap(({ ipv4 }) => [
        `neighbor ${ipv4} remote-as 64512`,
        `neighbor ${ipv4} timers connect 1`,
      ]),
      'address-family ipv4 unicast',
      `neighbor ${three.ipv4} route-reflector-client`,
    ].join('\n'),
  );
  const last = bird(three, two, ['10.244.3.0/26']);
  const seen = await eventually('the route', () => {
    const text = last.birdc('show', 'route', 'all', '10.244.1.0/26');
    return /BGP\.cluster_list/.test(text) && text;
  });
  assert.match(seen, /BGP\.cluster_list: 192\.0\.2\.2 192\.0\.2\.1/);
  assert.match(seen, new RegExp(`BGP\\.originator_id: ${one.ipv4}`));
  assert.match(seen, new RegExp(`BGP\\.next_hop: ${one.ipv4}`));
});

test('our reflector takes back no route that comes round through another of the same cluster', async () => {
  const clients = [one, two].map(({ ipv4 }) => ({
    name: ipv4,
    address: ipv4,
    asn: 64512,
    reflectorClient: true,
    families: ['ipv4-unicast'],
  }));
  const us = new Tombolo(reflector, ours({ clusterId: '192.0.2.1', ranges: [], neighbours: clients }));
  bird(one, reflector, ['10.244.1.0/26']);
  new Frr(
    two,
    [
      'router bgp 64512',
      `bgp router-id ${two.ipv4}`,
      'bgp cluster-id 192.0.2.1',
      `neighbor ${reflector.ipv4} remote-as 64512`,
      `neighbor ${reflector.ipv4} timers connect 1`,
      'address-family ipv4 unicast',
      `neighbor ${reflector.ipv4} route-reflector-client`,
    ].join('\n'),
  );
  await eventually('both up', () => clients.every(({ name }) => us.isUp(name)));
  await eventually('one route', () => us.learned(4).length === 1);
  await throughout('one route', 2_000, () => us.learned(4).length === 1);
});

test('filters decide what FRR hears, with communities and paths changed as they say', async () => {
  const external = (address: string, changes: Record<string, unknown>) => ({
    address,
    asn: 65002,
    families: ['ipv4-unicast'],
    ...changes,
  });
  new Tombolo(
    reflector,
    JSON.stringify({
      asn: 64512,
      routerId: reflector.ipv4,
      networks: ['10.244.1.0/26', '10.244.2.0/26', '192.0.2.0/24', '198.51.100.0/24'],
      exportRanges: ['10.244.0.0/16', '192.0.2.0/24'],
      neighbours: [external(one.ipv4, { filters: ['out'] })],
      filters: {
        out: {
          exportV4: [
            { action: 'Reject', matchOperator: 'Equal', cidr: '10.244.2.0/26' },
            {
              action: 'Accept',
              matchOperator: 'In',
              cidr: '10.244.0.0/16',
              operations: [{ addCommunity: { value: '64512:7' } }, { prependASPath: { prefix: [64600] } }],
            },
          ],
        },
      },
    }),
  );
  const peer = new Frr(
    one,
    [
      'router bgp 65002',
      `bgp router-id ${one.ipv4}`,
      'no bgp ebgp-requires-policy',
      `neighbor ${reflector.ipv4} remote-as 64512`,
      `neighbor ${reflector.ipv4} timers connect 1`,
    ].join('\n'),
  );
  await eventually('two routes', () => peer.learned(4).length === 2);
  assert.deepEqual(peer.learned(4).sort(), ['10.244.1.0/26', '192.0.2.0/24'], '198.51.100.0/24 is guarded');
  const [path] = peer.json('show bgp ipv4 unicast 10.244.1.0/26').paths;
  assert.equal(path.community.string, '64512:7');
  assert.equal(path.aspath.string, '64512 64600');
});
