import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually, throughout } from './waiting.ts';

const lab = new Lab('bgpgr');
const us = lab.router('us', 1);
const them = lab.router('them', 2);
const watcher = lab.router('watcher', 3);

afterEach(() => lab.reset());
after(() => lab.close());

const ours = (neighbour: Record<string, unknown> = {}, more: Record<string, unknown> = {}) =>
  JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    networks: ['10.1.0.0/24'],
    neighbours: [
      { address: them.ipv4, asn: 65002, connectRetryTime: 1, families: ['ipv4'], ...neighbour },
      { address: watcher.ipv4, asn: 65003, connectRetryTime: 1, families: ['ipv4'] },
    ],
    ...more,
  });

/** Sees what we announce, and restarts never. */
const watch = () =>
  new Bird(
    watcher,
    `router id 3.3.3.3;
protocol device {}
protocol bgp tombolo {
  local ${watcher.ipv4} as 65003;
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export all; };
}`,
  );

const frr = (networks: string[]) => `router bgp 65002
 bgp router-id 2.2.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time 30
 neighbor ${us.ipv4} remote-as 65001
 neighbor ${us.ipv4} timers connect 1
 address-family ipv4 unicast
${networks.map((network) => `  network ${network}`).join('\n')}`;

const bird = (networks: string[], options = '') => `router id 2.2.2.2;
protocol device {}
protocol static { ipv4; ${networks.map((network) => `route ${network} blackhole;`).join(' ')} }
protocol bgp tombolo {
  local ${them.ipv4} as 65002;
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1;
  graceful restart on; graceful restart time 30; ${options}
  ipv4 { import all; export all; };
}`;

const up = (tombolo: Tombolo, peer: string) =>
  eventually(`session with ${peer}`, () => tombolo.isUp(peer), 60_000);

describe('while a peer restarts', () => {
  test('its routes stay, and those it does not bring back go at its End-of-RIB (FRR)', async () => {
    const tombolo = new Tombolo(us, ours());
    const seen = watch();
    const peer = new Frr(them, frr(['10.2.0.0/24', '10.2.1.0/24']));
    await up(tombolo, them.ipv4);
    await eventually('routes', () => seen.learned(4).length === 3);
    await peer.daemon.kill();
    them.file('bgpd.conf', frr(['10.2.0.0/24']));
    await eventually('noticed', () => !tombolo.isUp(them.ipv4));
    await throughout('the routes', 2_000, () => seen.learned(4).length === 3);
    peer.restart();
    await up(tombolo, them.ipv4);
    await eventually('the lost one goes', () => !seen.learned(4).includes('10.2.1.0/24'), 60_000);
    assert.ok(seen.learned(4).includes('10.2.0.0/24'));
    assert.doesNotMatch(seen.birdc('show', 'route', 'count'), /^0/);
  });

  test('its routes stay (BIRD)', async () => {
    const tombolo = new Tombolo(us, ours());
    const seen = watch();
    const peer = new Bird(them, bird(['10.2.0.0/24']));
    await up(tombolo, them.ipv4);
    await eventually('routes', () => seen.learned(4).includes('10.2.0.0/24'));
    await peer.daemon.kill();
    await eventually('noticed', () => !tombolo.isUp(them.ipv4));
    await throughout('the route', 2_000, () => seen.learned(4).includes('10.2.0.0/24'));
    peer.restart();
    await eventually(
      'back',
      () => tombolo.isUp(them.ipv4) && tombolo.neighbour(them.ipv4)?.established === 2,
    );
    await throughout('the route', 2_000, () => seen.learned(4).includes('10.2.0.0/24'));
  });

  test('they go when its restart time is over', async () => {
    const tombolo = new Tombolo(us, ours());
    const seen = watch();
    const peer = new Bird(them, bird(['10.2.0.0/24']).replace('restart time 30', 'restart time 3'));
    await up(tombolo, them.ipv4);
    await eventually('routes', () => seen.learned(4).includes('10.2.0.0/24'));
    await peer.daemon.kill();
    await throughout('the route', 1_500, () => seen.learned(4).includes('10.2.0.0/24'));
    await eventually('gone', () => !seen.learned(4).includes('10.2.0.0/24'), 20_000);
  });

  test('they go at once where the peer does not take part, or ends the session itself', async () => {
    const tombolo = new Tombolo(us, ours());
    const seen = watch();
    const peer = new Bird(them, bird(['10.2.0.0/24']));
    await up(tombolo, them.ipv4);
    await eventually('routes', () => seen.learned(4).includes('10.2.0.0/24'));
    peer.birdc('disable', 'tombolo');
    await eventually('gone', () => !seen.learned(4).includes('10.2.0.0/24'), 15_000);
  });

  test('a peer that is back before we noticed takes its session over', async () => {
    const tombolo = new Tombolo(us, ours());
    const seen = watch();
    const peer = new Bird(them, bird(['10.2.0.0/24']));
    await up(tombolo, them.ipv4);
    await eventually('routes', () => seen.learned(4).includes('10.2.0.0/24'));
    await eventually(
      'old enough',
      () => Date.now() - Date.parse(tombolo.neighbour(them.ipv4)?.since ?? '') > 2_500,
    );
    // Its last words never arrive, and its kernel forgets the connection: a power cut.
    const silence = 'table inet silence { chain out { type filter hook output priority 0; policy drop; }; }';
    them.namespace.run('nft', silence);
    await peer.daemon.kill();
    them.namespace.run('ss', '-K', 'dst', us.ipv4);
    them.namespace.run('nft', 'delete', 'table', 'inet', 'silence');
    assert.ok(tombolo.isUp(them.ipv4), 'we still believe in the old session');
    peer.restart();
    await eventually('taken over', () => tombolo.neighbour(them.ipv4)?.established === 2);
    assert.match(tombolo.daemon.log, /the peer restarted and came back on a new connection/);
    await throughout('the route', 2_000, () => seen.learned(4).includes('10.2.0.0/24'));
  });
});

describe('while we restart', () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`peers keep our routes after ${signal}, and theirs are back before we announce`, async () => {
      const tombolo = new Tombolo(us, ours());
      const seen = watch();
      const peer = new Frr(them, frr(['10.2.0.0/24']));
      await up(tombolo, them.ipv4);
      await up(tombolo, watcher.ipv4);
      await eventually(
        'routes',
        () => seen.learned(4).length === 2 && peer.learned(4).includes('10.1.0.0/24'),
      );
      await tombolo.stop(signal);
      const kept = () => seen.learned(4).length === 2 && peer.learned(4).includes('10.1.0.0/24');
      await throughout('our routes at the peers', 2_000, kept);
      tombolo.restart();
      await eventually('sessions', () => kept() && tombolo.isUp(them.ipv4) && tombolo.isUp(watcher.ipv4));
      await throughout('our routes at the peers', 3_000, kept);
      assert.match(peer.vtysh(`show bgp neighbors ${us.ipv4}`), /R bit: True/);
      assert.equal(tombolo.status().deferring, false);
      const stale = seen.birdc('show', 'route', 'all', 'where', 'source', '=', 'RTS_BGP');
      assert.doesNotMatch(stale, /stale/i, 'End-of-RIB has been said');
    });
  }

  test('a peer that is gone does not hold us up for longer than its time to come back', async () => {
    const tombolo = new Tombolo(us, ours({}, { deferralTime: 8 }));
    const seen = watch();
    await up(tombolo, watcher.ipv4);
    await eventually('our route', () => seen.learned(4).includes('10.1.0.0/24'));
    await tombolo.stop('SIGTERM');
    tombolo.restart();
    await up(tombolo, watcher.ipv4);
    assert.equal(tombolo.status().deferring, true);
    await eventually('announcing', () => !tombolo.status().deferring, 30_000);
    assert.ok(seen.learned(4).includes('10.1.0.0/24'));
  });

  test('saying goodbye takes our routes away at once', async () => {
    const tombolo = new Tombolo(us, ours());
    const seen = watch();
    await eventually('our route', () => seen.learned(4).includes('10.1.0.0/24'), 60_000);
    await tombolo.stop('SIGINT');
    await eventually('gone', () => !seen.learned(4).includes('10.1.0.0/24'), 15_000);
  });
});
