import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually, throughout } from './waiting.ts';

const lab = new Lab('bgpmd');
const us = lab.router('us', 1);
const them = lab.router('them', 2);
const third = lab.router('third', 3);

afterEach(() => lab.reset());
after(() => lab.close());

const ours = (neighbour: Record<string, unknown>, more: Record<string, unknown> = {}) =>
  JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    neighbours: [{ address: them.ipv4, asn: 65002, connectRetryTime: 1, ...neighbour }],
    ...more,
  });

const frr = (...lines: string[]) =>
  ['router bgp 65002', ' bgp router-id 2.2.2.2', ' no bgp ebgp-requires-policy']
    .concat(['remote-as 65001', 'timers connect 1', ...lines].map((line) => ` neighbor ${us.ipv4} ${line}`))
    .join('\n');

const up = (tombolo: Tombolo, peer = them.ipv4) =>
  eventually('established', () => tombolo.isUp(peer), 60_000);

for (const passive of [true, false]) {
  const who = passive ? 'they dial' : 'we dial';
  test(`the right TCP MD5 key lets the session come up where ${who}`, async () => {
    const tombolo = new Tombolo(us, ours({ password: 'shared-secret', passive }));
    new Frr(them, frr('password shared-secret', ...(passive ? [] : ['passive'])));
    await up(tombolo);
  });

  test(`a wrong key does not where ${who}, and the right one later does`, async () => {
    const tombolo = new Tombolo(us, ours({ password: 'wrong', passive }));
    new Frr(them, frr('password right', ...(passive ? [] : ['passive'])));
    await throughout('no session', 4_000, () => !tombolo.isUp(them.ipv4));
    tombolo.configure(ours({ password: 'right', passive }));
    await up(tombolo);
  });
}

test('a peer with a key we do not expect stays out, and one without a key where we expect one', async () => {
  const tombolo = new Tombolo(us, ours({ passive: true }));
  const peer = new Frr(them, frr('password secret'));
  await throughout('no session', 3_000, () => !tombolo.isUp(them.ipv4));
  peer.vtysh('configure terminal', 'router bgp 65002', `no neighbor ${us.ipv4} password`);
  await up(tombolo);
});

test('one listener serves peers with a key beside peers without', async () => {
  const plain = { address: third.ipv4, asn: 65003, passive: true };
  const keyed = { address: them.ipv4, asn: 65002, passive: true, password: 'secret' };
  const tombolo = new Tombolo(
    us,
    JSON.stringify({ asn: 65001, routerId: '1.1.1.1', neighbours: [keyed, plain] }),
  );
  new Frr(them, frr('password secret'));
  new Bird(
    third,
    `router id 3.3.3.3; protocol device {}
protocol bgp tombolo { local ${third.ipv4} as 65003; neighbor ${us.ipv4} as 65001; connect delay time 1; ipv4 { import all; export all; }; }`,
  );
  await up(tombolo, them.ipv4);
  await up(tombolo, third.ipv4);
});

test('a key for a whole range lets dynamic neighbours in, and nobody without it', async () => {
  const range = { name: 'rack', prefix: '10.99.0.0/24', asn: 'external', password: 'rack-secret' };
  const tombolo = new Tombolo(us, JSON.stringify({ asn: 65001, routerId: '1.1.1.1', ranges: [range] }));
  new Frr(them, frr('password rack-secret'));
  new Bird(
    third,
    `router id 3.3.3.3; protocol device {}
protocol bgp tombolo { local ${third.ipv4} as 65003; neighbor ${us.ipv4} as 65001; connect delay time 1; ipv4 { import all; export all; }; }`,
  );
  await up(tombolo, them.ipv4);
  assert.equal(tombolo.neighbour(them.ipv4)?.range, 'rack');
  await throughout('nobody else', 2_000, () => tombolo.neighbour(third.ipv4) === undefined);
});

test('a key is rotated under a running session, which nobody notices', async () => {
  const a = new Tombolo(us, ours({ password: 'old', holdTime: 3 }));
  const theirs = (password: string) =>
    JSON.stringify({
      asn: 65002,
      routerId: '2.2.2.2',
      neighbours: [{ address: us.ipv4, asn: 65001, password, connectRetryTime: 1, holdTime: 3 }],
    });
  const b = new Tombolo(them, theirs('old'));
  await up(a);
  a.configure(ours({ password: 'new', holdTime: 3 }));
  b.configure(theirs('new'));
  await throughout('the session', 6_000, () => a.isUp(them.ipv4) && b.isUp(us.ipv4));
  assert.equal(a.neighbour(them.ipv4)?.established, 1);
  await b.daemon.kill();
  b.restart();
  await eventually('a new session with the new key', () => a.neighbour(them.ipv4)?.established === 2);
});

test('TTL security holds between two that both have it', async () => {
  const tombolo = new Tombolo(us, ours({ ttlSecurity: 1 }));
  new Frr(them, frr('ttl-security hops 1'));
  await up(tombolo);
});

for (const passive of [true, false]) {
  const who = passive ? 'they dial' : 'we dial';
  test(`TTL security keeps out a peer whose packets could have come from afar where ${who}`, async () => {
    const tombolo = new Tombolo(us, ours({ ttlSecurity: 1, passive }));
    new Frr(them, frr(...(passive ? [] : ['passive'])));
    await throughout('no session', 4_000, () => !tombolo.isUp(them.ipv4));
  });
}

test('TTL security and a key go together, over IPv6', async () => {
  const neighbour = {
    address: them.ipv6,
    asn: 65002,
    password: 'secret',
    ttlSecurity: 1,
    connectRetryTime: 1,
  };
  const tombolo = new Tombolo(
    us,
    JSON.stringify({ asn: 65001, routerId: '1.1.1.1', neighbours: [neighbour] }),
  );
  new Frr(
    them,
    `router bgp 65002
 bgp router-id 2.2.2.2
 no bgp ebgp-requires-policy
 neighbor ${us.ipv6} remote-as 65001
 neighbor ${us.ipv6} timers connect 1
 neighbor ${us.ipv6} password secret
 neighbor ${us.ipv6} ttl-security hops 1`,
  );
  await up(tombolo, them.ipv6);
});
