import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { GoBgp } from './goBgp.ts';
import { Lab } from './lab.ts';
import type { Speaker } from './speaker.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

const lab = new Lab('bgpup');
const us = lab.router('us', 1);
const them = lab.router('them', 2);

afterEach(() => lab.reset());
after(() => lab.close());

/** One peer, the other side of a session in every combination. */
interface Combination {
  readonly transport: 4 | 6;
  readonly ourPassive: boolean;
  readonly theirPassive: boolean;
}

const ours = ({ transport, ourPassive }: Combination, more = '') => `
asn: 65001
routerId: 1.1.1.1
neighbours:
  - address: "${transport === 4 ? them.ipv4 : them.ipv6}"
    asn: 65002
    passive: ${ourPassive}
    connectRetryTime: 1
    ${more}
networks: [10.1.0.0/24, "2001:db8:1::/48"]
`;

const peers: Record<string, (combination: Combination) => { speaker: Speaker; name: string }> = {
  FRR({ transport, theirPassive }) {
    const peer = transport === 4 ? us.ipv4 : us.ipv6;
    const speaker = new Frr(
      them,
      `router bgp 65002
 bgp router-id 2.2.2.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 neighbor ${peer} remote-as 65001
 neighbor ${peer} timers connect 1
 ${theirPassive ? `neighbor ${peer} passive` : ''}
 address-family ipv4 unicast
  neighbor ${peer} activate
  network 10.2.0.0/24
 exit-address-family
 address-family ipv6 unicast
  neighbor ${peer} activate
  network 2001:db8:2::/48
 exit-address-family`,
      // Without zebra it knows no IPv4 address of its own to announce over IPv6.
      { zebra: transport === 6 },
    );
    return { speaker, name: peer };
  },
  BIRD({ transport, theirPassive }) {
    const v4 = transport === 4;
    const speaker = new Bird(
      them,
      `router id 2.2.2.2;
protocol device {}
protocol static a { ipv4; route 10.2.0.0/24 blackhole; }
protocol static b { ipv6; route 2001:db8:2::/48 blackhole; }
protocol bgp tombolo {
  local ${v4 ? them.ipv4 : them.ipv6} as 65002;
  neighbor ${v4 ? us.ipv4 : us.ipv6} as 65001;
  passive ${theirPassive ? 'on' : 'off'};
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export all; ${v4 ? '' : `next hop address ${them.ipv4};`} };
  ipv6 { import all; export all; ${v4 ? `next hop address ${them.ipv6};` : ''} };
}`,
    );
    return { speaker, name: 'tombolo' };
  },
  GoBGP({ transport, theirPassive }) {
    const peer = transport === 4 ? us.ipv4 : us.ipv6;
    const speaker = new GoBgp(
      them,
      `[global.config]
  as = 65002
  router-id = "2.2.2.2"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${peer}"
    peer-as = 65001
  [neighbors.transport.config]
    passive-mode = ${theirPassive}
  [neighbors.timers.config]
    connect-retry = 5
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
`,
    );
    return { speaker, name: peer };
  },
};

const combinations: Combination[] = [
  { transport: 4, ourPassive: false, theirPassive: true },
  { transport: 4, ourPassive: true, theirPassive: false },
  { transport: 4, ourPassive: false, theirPassive: false },
  { transport: 6, ourPassive: false, theirPassive: true },
  { transport: 6, ourPassive: true, theirPassive: false },
];

for (const [daemon, start] of Object.entries(peers)) {
  describe(`a session with ${daemon}`, () => {
    for (const combination of combinations) {
      const { transport, ourPassive, theirPassive } = combination;
      const who = ourPassive ? 'they dial' : theirPassive ? 'we dial' : 'both dial';
      test(`comes up over IPv${transport} where ${who}, with both families, and stays`, async () => {
        // GoBGP announces IPv4 with IPv6 next hops (RFC 8950) whenever the session runs over IPv6.
        const extended = transport === 6 && daemon === 'GoBGP';
        const families = `families: [{family: ipv4, extendedNextHop: ${extended}}, ipv6]`;
        const tombolo = new Tombolo(us, ours(combination, families));
        const { speaker, name } = start(combination);
        const endOfRib = !(speaker instanceof GoBgp); // GoBGP says it only where graceful restart is on.
        const peer = transport === 4 ? them.ipv4 : them.ipv6;
        await eventually('we are established', () => tombolo.isUp(peer), 60_000);
        await eventually('they are established', () => speaker.isUp(name));
        if (speaker instanceof GoBgp) {
          speaker.gobgp('global', 'rib', 'add', '10.2.0.0/24', '-a', 'ipv4');
          speaker.gobgp('global', 'rib', 'add', '2001:db8:2::/48', '-a', 'ipv6');
        }
        const learned = await eventually('we have their routes of both families', () => {
          const { families = [] } = tombolo.neighbour(peer) ?? {};
          return families.length === 2 && families.every(({ accepted }) => accepted > 0) && families;
        });
        assert.deepEqual(
          learned.map(({ family }) => family),
          ['ipv4-unicast', 'ipv6-unicast'],
        );
        if (endOfRib) {
          await eventually('End-of-RIB', () =>
            tombolo.neighbour(peer)?.families.every((one) => one.endOfRib),
          );
        }
        await eventually('they have our IPv4 route', () => speaker.learned(4).includes('10.1.0.0/24'));
        await eventually('they have our IPv6 route', () => speaker.learned(6).includes('2001:db8:1::/48'));
        assert.equal(tombolo.neighbour(peer)?.established, 1, 'established once');
        assert.equal(tombolo.neighbour(peer)?.malformedUpdates, 0);
      });
    }
  });
}
