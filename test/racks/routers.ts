/**
 * How leaves and spine are configured: everything about the nodes is one range of addresses, so a node that comes or goes
 * changes nothing here. docs/leaf.md explains the lines to network engineers.
 */
import { Bird } from '../interop/bird.ts';
import { Frr } from '../interop/frr.ts';
import type { Router } from '../interop/router.ts';
import type { Speaker } from '../interop/speaker.ts';
import { Tombolo } from '../interop/tombolo.ts';
import { leafAddress, OUTSIDE, OUTSIDE6, RACKS, type RackPlan, SPINE_ASN } from './plan.ts';

/** Whose daemon plays the switches. */
export type Make = 'frr' | 'bird' | 'tombolo';

/** What a leaf sends its nodes besides what it must, to try their filters. */
export interface LeafWishes {
  /** Of its nodes; the leaf's own where absent. FRR only. */
  readonly nodesAsn?: number;
  readonly networks?: readonly string[];
  readonly defaultRoute?: boolean;
}

/** The leaf reflects its nodes' routes to each other and puts itself before what comes from elsewhere. */
export function startLeaf(make: Make, router: Router, rack: RackPlan, wishes: LeafWishes = {}): Speaker {
  switch (make) {
    case 'frr':
      return new Frr(router, frrLeaf(rack, wishes), { zebra: true });
    case 'bird':
      return new Bird(router, birdLeaf(rack, wishes));
    case 'tombolo':
      return new Tombolo(router, tomboloLeaf(rack, wishes));
  }
}

export function startSpine(make: Make, router: Router): Speaker {
  switch (make) {
    case 'frr':
      return new Frr(router, frrSpine(), { zebra: true });
    case 'bird':
      return new Bird(router, birdSpine());
    case 'tombolo':
      return new Tombolo(router, tomboloSpine());
  }
}

const GRACEFUL = ` bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time 30`;

function frrLeaf(
  rack: RackPlan,
  { networks = [], defaultRoute = false, nodesAsn = rack.asn }: LeafWishes,
): string {
  const reflects = nodesAsn === rack.asn ? '  neighbor nodes route-reflector-client\n' : '';
  return `router bgp ${rack.asn}
 bgp router-id ${leafAddress(rack)}
 no bgp ebgp-requires-policy
 no bgp network import-check
${GRACEFUL}
 coalesce-time 3000
 neighbor nodes peer-group
 neighbor nodes remote-as ${nodesAsn}
 neighbor nodes timers 3 9
 bgp listen range ${rack.lan}.0/24 peer-group nodes
 neighbor ${rack.uplink.spine} remote-as ${SPINE_ASN}
 neighbor ${rack.uplink.spine} timers 3 9
 neighbor ${rack.uplink.spine} timers connect 1
 address-family ipv4 unicast
${reflects}  neighbor nodes next-hop-self
${defaultRoute ? '  neighbor nodes default-originate\n' : ''}  maximum-paths ibgp 8
${[`${rack.lan}.0/24`, ...networks].map((network) => `  network ${network}`).join('\n')}
 exit-address-family
 address-family ipv6 unicast
  neighbor nodes activate
${reflects}  neighbor nodes next-hop-self
  neighbor ${rack.uplink.spine} activate
  maximum-paths ibgp 8
  network ${rack.lan6}/64`;
}

function frrSpine(): string {
  return `router bgp ${SPINE_ASN}
 bgp router-id ${OUTSIDE.spine}
 bgp bestpath as-path multipath-relax
 no bgp ebgp-requires-policy
 no bgp network import-check
${GRACEFUL}
 coalesce-time 100
${RACKS.flatMap(({ asn, uplink: { leaf } }) => [
  ` neighbor ${leaf} remote-as ${asn}`,
  ` neighbor ${leaf} timers 3 9`,
  ` neighbor ${leaf} timers connect 1`,
]).join('\n')}
 address-family ipv4 unicast
  maximum-paths 8
  network ${OUTSIDE.lan}
 exit-address-family
 address-family ipv6 unicast
${RACKS.map(({ uplink: { leaf } }) => `  neighbor ${leaf} activate`).join('\n')}
  maximum-paths 8
  network ${OUTSIDE6.lan}`;
}

function birdLeaf(rack: RackPlan, { networks = [], defaultRoute = false }: LeafWishes): string {
  const more = [...networks, ...(defaultRoute ? ['0.0.0.0/0'] : [])];
  const own = [`${rack.lan}.0/24`, ...more];
  const own6 = [`${rack.lan6}/64`];
  return `router id ${leafAddress(rack)};
protocol device {}
protocol direct { ipv4; ipv6; interface "lan"; }
${birdKernel()}
protocol static { ipv4; ${more.map((network) => `route ${network} blackhole;`).join(' ')} }
protocol bgp nodes {
  local ${leafAddress(rack)} as ${rack.asn};
  neighbor range ${rack.lan}.0/24 as ${rack.asn};
  dynamic name "node";
  rr client;
  hold time 9;
  graceful restart on;
  ipv4 { import all; export where ${birdExport(own)}; next hop self ebgp; };
  ipv6 { import all; export where ${birdExport(own6)}; next hop self ebgp; };
}
${birdPeer('spine', [rack.uplink.leaf, rack.asn], [rack.uplink.spine, SPINE_ASN], own, own6)}`;
}

function birdSpine(): string {
  return `router id ${OUTSIDE.spine};
protocol device {}
protocol direct { ipv4; ipv6; interface "*"; }
${birdKernel()}
${RACKS.map(({ name, asn, uplink }) => birdPeer(`leaf_${name}`, [uplink.spine, SPINE_ASN], [uplink.leaf, asn], [OUTSIDE.lan], [OUTSIDE6.lan])).join('\n')}`;
}

/** What was learned, and networks of one's own, static or connected. */
function birdExport(own: readonly string[]): string {
  return `source = RTS_BGP || net ~ [ ${own.join(', ')} ]`;
}

function birdKernel(): string {
  return ['ipv4', 'ipv6']
    .map(
      (family) =>
        `protocol kernel { persist; merge paths on limit 8; ${family} { import none; export where source = RTS_BGP; }; }`,
    )
    .join('\n');
}

function birdPeer(
  name: string,
  [own, ownAs]: readonly [string, number],
  [peer, peerAs]: readonly [string, number],
  networks: readonly string[],
  networks6: readonly string[],
): string {
  return `protocol bgp ${name} {
  local ${own} as ${ownAs};
  neighbor ${peer} as ${peerAs};
  hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2;
  graceful restart on;
  ipv4 { import all; export where ${birdExport(networks)}; next hop self; };
  ipv6 { import all; export where ${birdExport(networks6)}; next hop self; };
}`;
}

const tomboloDefaults = {
  holdTime: 9,
  connectRetryTime: 1,
  families: ['ipv4', 'ipv6'],
  gracefulRestart: { restartTime: 30, notification: false },
};

function tomboloLeaf(rack: RackPlan, { networks = [], defaultRoute = false }: LeafWishes): string {
  return JSON.stringify({
    asn: rack.asn,
    routerId: leafAddress(rack),
    defaults: tomboloDefaults,
    neighbours: [{ name: 'spine', address: rack.uplink.spine, asn: SPINE_ASN }],
    ranges: [
      {
        name: 'nodes',
        prefix: `${rack.lan}.0/24`,
        asn: 'internal',
        reflectorClient: true,
        nextHop: 'self',
      },
    ],
    networks: [`${rack.lan}.0/24`, `${rack.lan6}/64`, ...networks, ...(defaultRoute ? ['0.0.0.0/0'] : [])],
    kernel: { ranges: ['0.0.0.0/0', '::/0'] },
  });
}

function tomboloSpine(): string {
  return JSON.stringify({
    asn: SPINE_ASN,
    routerId: OUTSIDE.spine,
    defaults: tomboloDefaults,
    neighbours: RACKS.map(({ name, asn, uplink }) => ({ name: `leaf-${name}`, address: uplink.leaf, asn })),
    networks: [OUTSIDE.lan, OUTSIDE6.lan],
    kernel: { ranges: ['0.0.0.0/0', '::/0'] },
  });
}
