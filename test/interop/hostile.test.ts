import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bird } from './bird.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';
import { message, openMessage, UPDATE, updateMessage, WirePeer } from './wirePeer.ts';

const lab = new Lab('bgphostile');
const us = lab.router('us', 1);
const good = lab.router('good', 2);
const bad = lab.router('bad', 3);

afterEach(() => lab.reset());
after(() => lab.close());

const ASN = 65003;
const identity = { asn: ASN, identifier: '3.3.3.3', holdTime: 90 };

/** The hostile one comes out of a range, so that no damping slows it down. */
const ours = (changes: Record<string, unknown> = {}) =>
  JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    networks: ['10.1.0.0/24'],
    neighbours: [{ address: good.ipv4, asn: 65002, holdTime: 3, connectRetryTime: 1, families: ['ipv4'] }],
    ranges: [{ prefix: `${bad.ipv4}/32`, asn: ASN, families: ['ipv4'] }],
    ...changes,
  });

const bird = () => `router id 2.2.2.2;
protocol device {}
protocol static { ipv4; route 10.2.0.0/24 blackhole; }
protocol bgp tombolo {
  local ${good.ipv4} as 65002;
  neighbor ${us.ipv4} as 65001;
  hold time 3; connect delay time 1; connect retry time 1;
  ipv4 { import all; export all; };
}`;

const residentMegabytes = (tombolo: Tombolo): number => {
  const status = readFileSync(`/proc/${tombolo.daemon.child.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
};

/** The same numbers in every run: what fails can be repeated. */
function* randomBytes(seed: number): Generator<number, never> {
  for (let state = seed >>> 0 || 1; ; ) {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    yield state & 255;
  }
}

const random = randomBytes(20260101);
const next = (limit: number) => ((random.next().value << 8) | random.next().value) % limit;
const noise = (length: number) => Buffer.from(Array.from({ length }, () => random.next().value));

const sound = () => updateMessage(ASN, bad.ipv4, [[`10.3.${next(4)}.0`, 24]]);

const attacks: Record<string, () => Buffer> = {
  truncated: () => {
    const bytes = sound();
    const cut = bytes.subarray(0, 19 + next(bytes.length - 19));
    return message(UPDATE, cut.subarray(19));
  },
  'longer than they may be': () => message(UPDATE, noise(5000)),
  'lying about their length': () => message(UPDATE, noise(next(60)), next(70000)),
  contradictory: () => {
    const bytes = sound();
    // One byte of lengths, flags, types or values is another one.
    bytes[19 + next(bytes.length - 19)] = random.next().value;
    return bytes;
  },
  'of random attributes': () => {
    const attributes = noise(next(200));
    const head = Buffer.from([0, 0, 0, attributes.length]);
    return message(UPDATE, Buffer.concat([head, attributes, Buffer.of(24, 10, 3, next(4))]));
  },
  'of any type': () => message(next(256), noise(next(300))),
  random: () => noise(next(2000)),
};

/** Says it over and over, connecting anew whenever it is thrown out, for `time` ms; answers how much was said. */
async function attack(make: () => Buffer, time: number): Promise<{ messages: number; sessions: number }> {
  const until = Date.now() + time;
  let [messages, sessions] = [0, 0];
  while (Date.now() < until) {
    const peer = await new WirePeer(bad, us.ipv4).establish({ ...identity, holdTime: 0 });
    if (!peer.closed) sessions++;
    while (!peer.closed && Date.now() < until) {
      const some = Buffer.concat(Array.from({ length: 50 }, make));
      messages += 50;
      if (!peer.socket.write(some)) await sleep(1);
      else await new Promise((resolve) => setImmediate(resolve));
    }
    peer.close();
  }
  return { messages, sessions };
}

test('whatever a peer sends at full speed costs its own session at most, and no memory', async () => {
  const tombolo = new Tombolo(us, ours());
  const witness = new Bird(good, bird());
  await eventually('the good session', () => tombolo.isUp(good.ipv4));
  // What V8 and its heap take once they are warm does not count.
  for (const make of Object.values(attacks)) await attack(make, 500);
  const before = residentMegabytes(tombolo);
  for (const [name, make] of Object.entries(attacks)) {
    const { messages, sessions } = await attack(make, 1500);
    assert.ok(messages > 200 && sessions > 0, `${name}: ${messages} messages in ${sessions} sessions`);
    assert.ok(tombolo.isUp(good.ipv4), `the good session, after messages ${name}`);
  }
  await sleep(500);
  const grown = residentMegabytes(tombolo) - before;
  assert.ok(grown < 40, `it grew by ${grown.toFixed(0)} MB`);
  const [neighbour] = tombolo.status().neighbours.filter(({ name }) => name === good.ipv4);
  assert.equal(neighbour?.established, 1, 'the good session was never lost');
  await eventually('only the good route is left', () => tombolo.learned(4).length === 1);
  assert.deepEqual(witness.learned(4), ['10.1.0.0/24']);
});

test('a peer that fills our tables loses its session, which says why, and is kept away', async () => {
  const tombolo = new Tombolo(us, ours({ capacity: 1000 }));
  new Bird(good, bird());
  await eventually('the good route', () => tombolo.learned(4).length === 1);
  const peer = await new WirePeer(bad, us.ipv4).establish(identity);
  for (let block = 0; block < 10; block++) {
    const prefixes = Array.from({ length: 200 }, (_, n) => [`10.${100 + block}.${n}.0`, 24] as const);
    peer.socket.write(updateMessage(ASN, bad.ipv4, prefixes));
  }
  const said = await eventually('the end', () => peer.closed && peer.notification);
  assert.deepEqual([said.code, said.subcode], [6, 8], 'Cease, Out of Resources');
  await eventually('its routes are gone', () => tombolo.learned(4).length === 1);
  assert.ok(tombolo.isUp(good.ipv4));
  assert.match(tombolo.daemon.log, /out of resources.*the table is full/);
});

test('an OPEN that contradicts itself or us is answered with the reason', async () => {
  new Tombolo(us, ours());
  const cases: [string, Buffer, number, number][] = [
    ['hold time 1', openMessage({ ...identity, holdTime: 1 }), 2, 6],
    ['identifier 0', openMessage({ ...identity, identifier: '0.0.0.0' }), 2, 3],
    ['another AS', openMessage({ ...identity, asn: 65099 }), 2, 2],
    ['version 3', Buffer.from(openMessage(identity)).fill(3, 19, 20), 2, 1],
    ['no marker', Buffer.from(openMessage(identity)).fill(0, 3, 4), 1, 1],
    ['length 18', message(1, Buffer.alloc(0), 18), 1, 2],
    ['type 9', message(9), 1, 3],
    ['an UPDATE first', updateMessage(ASN, bad.ipv4, [['10.3.0.0', 24]]), 5, 1],
  ];
  for (const [name, bytes, code, subcode] of cases) {
    const peer = new WirePeer(bad, us.ipv4);
    peer.socket.once('connect', () => peer.socket.write(bytes));
    const said = await eventually(`the answer to ${name}`, () => peer.closed && peer.notification);
    assert.deepEqual([said.code, said.subcode], [code, subcode], name);
  }
});
