import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually, throughout } from './waiting.ts';

const lab = new Lab('bgpses');
const us = lab.router('us', 1);
const them = lab.router('them', 2);

afterEach(() => lab.reset());
after(() => lab.close());

function ours(neighbour: Record<string, unknown> = {}, router: Record<string, unknown> = {}): string {
  const defaults = { address: them.ipv4, asn: 65002, connectRetryTime: 1 };
  return JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    networks: ['10.1.0.0/24'],
    neighbours: [{ ...defaults, ...neighbour }],
    ...router,
  });
}

function frr(lines: string[] = [], asn = 65001): string {
  const own = [`remote-as ${asn}`, 'timers connect 1', ...lines].map(
    (line) => ` neighbor ${us.ipv4} ${line}`,
  );
  return [
    'router bgp 65002',
    ' bgp router-id 2.2.2.2',
    ' no bgp ebgp-requires-policy',
    ' no bgp network import-check',
    ...own,
    ' address-family ipv4 unicast',
    '  network 10.2.0.0/24',
    ' address-family ipv6 unicast',
    `  neighbor ${us.ipv4} activate`,
  ].join('\n');
}

function bird(channels: string, more = ''): string {
  return `log stderr all;
router id 2.2.2.2;
protocol device {}
${more}
protocol bgp tombolo {
  local ${them.ipv4} as 65002;
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1;
  ${channels}
}`;
}

const up = (tombolo: Tombolo, peer = them.ipv4) =>
  eventually('established', () => tombolo.isUp(peer), 60_000);
const lastReset = (tombolo: Tombolo) => tombolo.neighbour(them.ipv4)?.lastReset;

describe('timers', () => {
  test('a hold time of 3 s keeps the session as long as both live', async () => {
    const tombolo = new Tombolo(us, ours({ holdTime: 3 }));
    new Frr(them, frr(['timers 1 3']));
    await up(tombolo);
    assert.equal(tombolo.neighbour(them.ipv4)?.negotiated?.holdTime, 3);
    await throughout('the session', 5_000, () => tombolo.isUp(them.ipv4));
  });

  test('a hold time of 0 switches KEEPALIVEs off', async () => {
    const tombolo = new Tombolo(us, ours({ holdTime: 0 }));
    new Frr(them, frr(['timers 0 0']));
    await up(tombolo);
    assert.equal(tombolo.neighbour(them.ipv4)?.negotiated?.holdTime, 0);
    await throughout('the session', 4_000, () => tombolo.isUp(them.ipv4));
    assert.equal(tombolo.neighbour(them.ipv4)?.messages.sent.KEEPALIVE, 1, 'the one that confirms the OPEN');
  });

  test('a peer that freezes is noticed when the hold time is over', async () => {
    const tombolo = new Tombolo(us, ours({ holdTime: 3, gracefulRestart: false }));
    const peer = new Frr(them, frr(['timers 1 3']));
    await up(tombolo);
    peer.daemon.child.kill('SIGSTOP');
    await eventually('the hold timer', () => lastReset(tombolo)?.reason === 'sent Hold Timer Expired');
    peer.daemon.child.kill('SIGCONT');
    await up(tombolo);
  });

  test('a peer that is killed is noticed at once, and taken back when it returns', async () => {
    const tombolo = new Tombolo(us, ours());
    const peer = new Frr(them, frr());
    await up(tombolo);
    await peer.daemon.kill();
    await eventually('noticed', () => !tombolo.isUp(them.ipv4));
    assert.match(lastReset(tombolo)?.reason ?? '', /^connection lost: (closed by the peer|ECONNRESET)$/);
    peer.restart();
    await up(tombolo);
    assert.equal(tombolo.neighbour(them.ipv4)?.established, 2);
  });
});

describe('AS numbers', () => {
  test('of four octets are spoken, in OPEN and in AS_PATH', async () => {
    const tombolo = new Tombolo(us, ours({}, { asn: 1_111_111 }));
    const peer = new Frr(them, frr([], 1_111_111));
    await up(tombolo);
    await eventually('the route', () => peer.learned(4).includes('10.1.0.0/24'));
    const { paths } = peer.json('show bgp ipv4 unicast 10.1.0.0/24');
    assert.equal(paths[0].aspath.string, '1111111');
  });

  test('that do not match are refused with both numbers in the reason', async () => {
    const tombolo = new Tombolo(us, ours({ asn: 65_009 }));
    new Frr(them, frr());
    const reset = await eventually('refused', () =>
      lastReset(tombolo)?.detail === undefined ? undefined : lastReset(tombolo),
    );
    assert.equal(reset.reason, 'sent OPEN Message Error/Bad Peer AS');
    assert.equal(reset.detail, 'Cannot accept OPEN: the peer is in AS 65002, expected 65009');
  });

  test('need not be known where the peer is external', async () => {
    const tombolo = new Tombolo(us, ours({ asn: 'external' }));
    new Frr(them, frr(['remote-as external']));
    await up(tombolo);
    assert.equal(tombolo.neighbour(them.ipv4)?.remoteAs, 65_002);
  });

  test('may differ from the router’s own on one session', async () => {
    const tombolo = new Tombolo(us, ours({ localAsn: 65_100 }));
    new Frr(them, frr([], 65_100));
    await up(tombolo);
  });
});

describe('the reason of an end', () => {
  test('is shown where the peer is shut down with a message', async () => {
    const tombolo = new Tombolo(us, ours({ gracefulRestart: false }));
    const peer = new Frr(them, frr());
    await up(tombolo);
    peer.vtysh(
      'configure terminal',
      'router bgp 65002',
      `neighbor ${us.ipv4} shutdown message maintenance of the leaf`,
    );
    const reset = await eventually('down', () => !tombolo.isUp(them.ipv4) && lastReset(tombolo));
    assert.equal(reset.reason, 'received Cease/Administrative Shutdown: maintenance of the leaf');
  });

  test('reaches the peer where we shut down with a message', async () => {
    const tombolo = new Tombolo(us, ours({ gracefulRestart: false }));
    const peer = new Bird(them, bird('ipv4 { import all; export all; };'));
    await up(tombolo);
    tombolo.configure(ours({ gracefulRestart: false, shutdown: 'node drained by hand' }));
    await eventually('told', () => /Administrative shutdown.*node drained by hand/.test(peer.daemon.log));
    assert.equal(tombolo.neighbour(them.ipv4)?.state, 'Idle');
    tombolo.configure(ours({ gracefulRestart: false }));
    await up(tombolo);
  });

  test('is a Hard Reset where a plain NOTIFICATION would start a graceful restart', async () => {
    const tombolo = new Tombolo(us, ours());
    const peer = new Frr(them, frr());
    await up(tombolo);
    await tombolo.stop('SIGINT');
    await eventually('down', () => !peer.isUp(us.ipv4));
    assert.match(peer.vtysh(`show bgp neighbors ${us.ipv4}`), /Hard Reset/);
  });
});

describe('a change of configuration', () => {
  test('resets only what it must', async () => {
    const tombolo = new Tombolo(us, ours());
    const peer = new Frr(them, frr());
    await up(tombolo);
    await eventually('our route', () => peer.learned(4).includes('10.1.0.0/24'));
    const reject = { exportV4: [{ action: 'Reject', cidr: '10.1.0.0/24', matchOperator: 'Equal' }] };
    tombolo.configure(ours({ description: 'the leaf', filters: ['none'] }, { filters: { none: reject } }));
    await eventually('withdrawn by the filter', () => !peer.learned(4).includes('10.1.0.0/24'));
    assert.equal(tombolo.neighbour(them.ipv4)?.established, 1, 'neither text nor filter cost the session');

    tombolo.configure(ours({ holdTime: 30 }));
    await eventually(
      'reset',
      () => tombolo.neighbour(them.ipv4)?.established === 2 && tombolo.isUp(them.ipv4),
    );
    assert.equal(lastReset(tombolo)?.reason, 'sent Cease/Other Configuration Change');
    assert.equal(tombolo.neighbour(them.ipv4)?.negotiated?.holdTime, 30);
  });

  test('that is wrong leaves everything as it was', async () => {
    const tombolo = new Tombolo(us, ours());
    new Frr(them, frr());
    await up(tombolo);
    tombolo.configure(ours({ holdTime: 2 }));
    await eventually('refused', () =>
      /holdTime: expected 0 or at least 3 s \(value 2\)/.test(tombolo.daemon.log),
    );
    await throughout('the session', 500, () => tombolo.isUp(them.ipv4));
  });
});

describe('route refresh', () => {
  test('is asked for and answered', async () => {
    const tombolo = new Tombolo(us, ours());
    const peer = new Frr(them, frr());
    await up(tombolo);
    await eventually('routes', () =>
      tombolo.neighbour(them.ipv4)?.families.every(({ endOfRib }) => endOfRib),
    );
    const before = tombolo.neighbour(them.ipv4)?.messages.received.UPDATE ?? 0;
    tombolo.post(`/v1/bgp/neighbors/${them.ipv4}/refresh`);
    await eventually(
      'they send again',
      () => (tombolo.neighbour(them.ipv4)?.messages.received.UPDATE ?? 0) > before,
    );
    peer.vtysh(`clear bgp ipv4 unicast ${us.ipv4} soft in`);
    await eventually('they ask', () => tombolo.neighbour(them.ipv4)?.messages.received['ROUTE-REFRESH']);
    await throughout('the session', 500, () => tombolo.isUp(them.ipv4));
    assert.ok(peer.learned(4).includes('10.1.0.0/24'), 'BoRR and EoRR lost no route');
  });
});

describe('a limit of prefixes', () => {
  const routes = Array.from({ length: 20 }, (_, index) => `route 10.3.${index}.0/24 blackhole;`).join(' ');
  test('ends the session of a peer that sends more, and keeps it away for a while', async () => {
    const tombolo = new Tombolo(us, ours({ prefixLimit: { limit: 10 } }));
    new Bird(them, bird('ipv4 { import all; export all; };', `protocol static { ipv4; ${routes} }`));
    const reset = await eventually('the limit', () => {
      const last = lastReset(tombolo);
      return last?.detail === undefined ? undefined : last;
    });
    assert.match(reset.reason, /^sent Cease\/.*Maximum Number of Prefixes Reached/);
    assert.match(reset.detail ?? '', /prefixes of ipv4-unicast are more than allowed/);
    await throughout('the pause', 3_000, () => !tombolo.isUp(them.ipv4));
  });

  test('only warns where that is wanted', async () => {
    const tombolo = new Tombolo(us, ours({ prefixLimit: { limit: 10, action: 'warn' } }));
    new Bird(them, bird('ipv4 { import all; export all; };', `protocol static { ipv4; ${routes} }`));
    await up(tombolo);
    await eventually('a warning', () => /"prefix limit".*"exceeded"/.test(tombolo.daemon.log));
    await throughout('the session', 1_000, () => tombolo.isUp(them.ipv4));
  });
});
