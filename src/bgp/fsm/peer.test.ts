import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  type ConnectionEvent,
  disabledPeer,
  foremost,
  type OpenSummary,
  type Peer,
  type PeerEffect,
  type PeerEvent,
  type PeerOptions,
  peerDeadline,
  stepPeer,
} from './peer.ts';

const options: PeerOptions = {
  connectRetryTime: 5_000,
  passive: false,
  delayOpenTime: 0,
  local: { identifier: 100, asn: 65_001 },
};
const higher: OpenSummary = { identifier: 200, asn: 65_002, holdTime: 90_000, restartable: false };
const lower: OpenSummary = { ...higher, identifier: 50 };
const shutdown = { type: 'NOTIFICATION', code: 6, subcode: 2, data: Buffer.alloc(0) } as const;
const badOpen = { type: 'NOTIFICATION', code: 2, subcode: 2, data: Buffer.alloc(0) } as const;

/** A neighbour under a virtual clock that keeps book of the sockets its effects open and close. */
function rig(driven: PeerOptions = options) {
  let peer: Peer = disabledPeer;
  let now = 0;
  const sockets = new Set<number>();
  const established = new Set<number>();
  const log: string[] = [];

  const apply = (effect: PeerEffect): void => {
    if (effect.type === 'refuse') log.push('refuse');
    else log.push(`${effect.type} ${effect.id}`);
    if (effect.type === 'sendNotification')
      log.push(`${effect.notification.code}/${effect.notification.subcode}`);
    if (effect.type === 'connect' || effect.type === 'adopt') sockets.add(effect.id);
    if (effect.type === 'close') sockets.delete(effect.id);
    if (effect.type === 'established') established.add(effect.id);
    if (effect.type === 'down') established.delete(effect.id);
  };
  const feed = (event: PeerEvent): string[] => {
    log.length = 0;
    const result = stepPeer(peer, event, { now, random: 1 }, driven);
    peer = result.peer;
    result.effects.forEach(apply);
    return [...log];
  };
  const on = (id: number, event: ConnectionEvent) => feed({ type: 'on', id, event });
  return {
    feed,
    on,
    open: (id: number, open: OpenSummary) => feed({ type: 'open', id, open }),
    keepalive: (id: number) => on(id, { type: 'keepalive' }),
    wait(time: number) {
      now += time;
      return feed({ type: 'tick' });
    },
    sockets,
    established,
    get peer() {
      return peer;
    },
    get now() {
      return now;
    },
    states: () => Object.fromEntries(peer.connections.map(({ id, state }) => [id, state.name])),
  };
}

/** Our own dial is connection 1, the peer's is 2; TCP is up on both and OPENs are on the way. */
function bothDialled() {
  const one = rig();
  one.feed({ type: 'enable' });
  one.on(1, { type: 'connected' });
  one.feed({ type: 'accepted' });
  assert.deepEqual(one.states(), { 1: 'OpenSent', 2: 'OpenSent' });
  return one;
}

function establishedByPeer(open: OpenSummary) {
  const one = rig({ ...options, passive: true });
  one.feed({ type: 'enable' });
  one.feed({ type: 'accepted' });
  one.open(2, open);
  one.keepalive(2);
  assert.deepEqual([...one.established], [2]);
  return one;
}

describe('connection collision', () => {
  test('keeps the connection the side with the higher identifier dialled, in whatever order OPENs come', () => {
    for (const [open, first, kept] of [
      [higher, 1, 2],
      [higher, 2, 2],
      [lower, 1, 1],
      [lower, 2, 1],
    ] as const) {
      const one = bothDialled();
      one.open(first, open);
      one.open(3 - first, open);
      assert.deepEqual(
        one.states(),
        { [kept]: 'OpenConfirm' },
        `identifier ${open.identifier}, first ${first}`,
      );
      one.keepalive(kept);
      assert.deepEqual([...one.established], [kept]);
      assert.deepEqual([...one.sockets], [kept]);
    }
  });

  test('tells the losing connection why', () => {
    const one = bothDialled();
    assert.deepEqual(one.open(1, higher), ['sendNotification 1', '6/7', 'close 1', 'down 1']);
  });

  test('compares AS numbers where the identifiers are the same (RFC 6286)', () => {
    const one = bothDialled();
    const twin = { ...higher, identifier: options.local.identifier, asn: 70_000 };
    one.open(1, twin);
    one.open(2, twin);
    assert.deepEqual(one.states(), { 2: 'OpenConfirm' });
  });

  test('does not wait for a connection that has long been silent, and keeps what was confirmed meanwhile', () => {
    const one = bothDialled();
    one.wait(10_000);
    one.open(1, higher);
    assert.deepEqual(one.states(), { 1: 'OpenConfirm', 2: 'OpenSent' });
    one.keepalive(1);
    assert.deepEqual([...one.established], [1]);
    assert.deepEqual(one.states(), { 1: 'Established' });
  });

  test('of two confirmed connections ends the one that must not be kept', () => {
    const one = bothDialled();
    one.wait(10_000);
    one.open(1, higher);
    assert.deepEqual(one.open(2, higher).slice(0, 3), ['sendNotification 1', '6/7', 'close 1']);
    assert.deepEqual(one.states(), { 2: 'OpenConfirm' });
  });

  test('gives up its own attempt to dial as soon as the peer has sent an OPEN', () => {
    const one = rig();
    one.feed({ type: 'enable' });
    one.feed({ type: 'accepted' });
    assert.deepEqual(one.states(), { 1: 'Connect', 2: 'OpenSent' });
    one.open(2, lower);
    assert.deepEqual(one.states(), { 2: 'OpenConfirm' });
    assert.deepEqual([...one.sockets], [2]);
  });

  test('gives up waiting for its next attempt too', () => {
    const one = rig();
    one.feed({ type: 'enable' });
    one.on(1, { type: 'connected' });
    one.on(1, { type: 'notification', notification: shutdown });
    one.feed({ type: 'accepted' });
    assert.deepEqual(one.states(), { 2: 'Idle', 3: 'OpenSent' });
    one.open(3, lower);
    assert.deepEqual(one.states(), { 3: 'OpenConfirm' });
  });

  test('never drops an established session for a new connection, but asks whether it is still alive', () => {
    const one = establishedByPeer(higher);
    one.wait(10_000);
    one.feed({ type: 'accepted' });
    const effects = one.open(3, higher);
    assert.deepEqual(effects, ['sendKeepalive 2', 'sendNotification 3', '6/7', 'close 3', 'down 3']);
    assert.deepEqual([...one.established], [2]);
  });

  test('takes the newer of two attempts by the peer', () => {
    const one = rig({ ...options, passive: true });
    one.feed({ type: 'enable' });
    one.feed({ type: 'accepted' });
    one.feed({ type: 'accepted' });
    assert.deepEqual([...one.sockets], [3]);
  });
});

describe('a peer that restarts gracefully', () => {
  const restartable = { ...higher, restartable: true };

  test('replaces its old session by the new connection without a NOTIFICATION', () => {
    const one = establishedByPeer(restartable);
    one.wait(10_000);
    one.feed({ type: 'accepted' });
    assert.deepEqual(one.open(3, restartable), ['close 2', 'down 2', 'sendKeepalive 3']);
    one.keepalive(3);
    assert.deepEqual([...one.established], [3]);
  });

  test('is not seen in a connection that was on the way while the session came up', () => {
    const one = establishedByPeer(restartable);
    one.wait(500);
    one.feed({ type: 'accepted' });
    one.open(3, restartable);
    assert.deepEqual([...one.established], [2]);
  });
});

describe('a neighbour', () => {
  test('backs off further with every protocol error, refuses connections meanwhile, and forgets in the end', () => {
    const one = rig();
    one.feed({ type: 'enable' });
    const waits: number[] = [];
    for (let round = 0; round < 6; round++) {
      const { id } = foremost(one.peer) ?? assert.fail('there is no connection');
      one.on(id, { type: 'connected' });
      one.on(id, { type: 'malformed', notification: badOpen });
      const wait = (peerDeadline(one.peer) ?? assert.fail('nobody will dial again')) - one.now;
      assert.deepEqual(one.feed({ type: 'accepted' }), ['refuse']);
      waits.push(wait);
      one.wait(wait);
    }
    assert.deepEqual(waits, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
    const { id } = foremost(one.peer) ?? assert.fail('there is no connection');
    one.on(id, { type: 'connected' });
    one.open(id, { ...higher, holdTime: 0 });
    one.keepalive(id);
    one.wait(400_000);
    one.on(id, { type: 'malformed', notification: badOpen });
    assert.equal((peerDeadline(one.peer) ?? 0) - one.now, 5_000);
  });

  test('comes back quickly after a Cease or a lost connection', () => {
    for (const end of [
      { type: 'notification', notification: shutdown },
      { type: 'disconnected', error: 'ECONNRESET' },
    ] as const) {
      const one = rig();
      one.feed({ type: 'enable' });
      one.on(1, { type: 'connected' });
      one.open(1, higher);
      one.keepalive(1);
      one.on(1, end);
      assert.deepEqual(one.states(), { 2: 'Idle' });
      assert.deepEqual(one.wait(1_000), ['connect 2']);
    }
  });

  test('that is disabled has no connection, no timer and takes none', () => {
    const one = bothDialled();
    one.open(1, higher);
    one.feed({ type: 'disable', notification: shutdown });
    assert.deepEqual(one.states(), {});
    assert.equal(one.sockets.size, 0);
    assert.equal(peerDeadline(one.peer), undefined);
    assert.deepEqual(one.feed({ type: 'accepted' }), ['refuse']);
    one.feed({ type: 'enable' });
    assert.deepEqual(Object.values(one.states()), ['Connect']);
  });

  test('forgets its errors when it is reset by hand', () => {
    const one = rig();
    one.feed({ type: 'enable' });
    one.on(1, { type: 'connected' });
    one.on(1, { type: 'malformed', notification: badOpen });
    one.feed({ type: 'reset', notification: shutdown, pause: 0 });
    assert.deepEqual(Object.values(one.states()), ['Connect']);
    assert.equal(one.feed({ type: 'accepted' })[0], 'adopt 4');
  });

  test('under any events has at most one session, leaks no socket and never stops trying', () => {
    fc.assert(
      fc.property(fc.array(moves, { maxLength: 80 }), fc.boolean(), (sequence, passive) => {
        const one = rig({ ...options, passive });
        for (const { make, after } of sequence) {
          one.wait(after);
          const event = make(one.peer);
          // Reports come from sockets: a connection without one has nothing to say.
          if ('id' in event && !one.sockets.has(event.id)) continue;
          one.feed(event);
          check(one, passive);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

function check(one: ReturnType<typeof rig>, passive: boolean): void {
  const { peer } = one;
  assert.ok(one.established.size <= 1, 'two sessions');
  const ids = new Set(peer.connections.map(({ id }) => id));
  for (const id of one.sockets) assert.ok(ids.has(id), `socket ${id} has no owner`);
  for (const { id, state, origin } of peer.connections) {
    if (['OpenSent', 'OpenConfirm', 'Established'].includes(state.name)) {
      assert.ok(one.sockets.has(id), `${state.name} without a socket`);
    }
    if (state.name === 'Established') assert.ok(one.established.has(id), 'unannounced session');
    if (state.name === 'Idle') assert.ok(origin === 'local' && state.startAt !== undefined, 'idle for ever');
  }
  if (!peer.enabled) {
    assert.equal(peer.connections.length, 0);
    return;
  }
  const close = peer.connections.some(({ state }) => ['OpenConfirm', 'Established'].includes(state.name));
  const local = peer.connections.filter(({ origin }) => origin === 'local');
  assert.ok(close || local.length === 1, `${local.length} connections of our own`);
  if (!close && !passive) assert.notEqual(peerDeadline(peer), undefined, 'nothing will ever happen again');
}

type Move = (peer: Peer) => PeerEvent;
const whole =
  (event: PeerEvent): Move =>
  () =>
    event;
const onAny =
  (index: number, event: ConnectionEvent): Move =>
  (peer) => ({ type: 'on', id: peer.connections.at(index % 3)?.id ?? index, event });
const openAny =
  (index: number, open: OpenSummary): Move =>
  (peer) => ({ type: 'open', id: peer.connections.at(index % 3)?.id ?? index, open });
const open = fc.record({
  identifier: fc.constantFrom(50, 100, 200),
  asn: fc.constantFrom(65_000, 65_002),
  holdTime: fc.constantFrom(0, 3_000, 90_000),
  restartable: fc.boolean(),
});
const reports = fc.constantFrom<ConnectionEvent>(
  { type: 'connected' },
  { type: 'disconnected', error: 'ECONNRESET' },
  { type: 'keepalive' },
  { type: 'keepalive' },
  { type: 'update' },
  { type: 'sent' },
  { type: 'malformed', notification: badOpen },
  { type: 'notification', notification: shutdown },
);
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 1, arbitrary: fc.constant(whole({ type: 'disable', notification: shutdown })) },
  { weight: 1, arbitrary: fc.constant(whole({ type: 'reset', notification: shutdown, pause: 0 })) },
  { weight: 3, arbitrary: fc.constant(whole({ type: 'enable' })) },
  { weight: 4, arbitrary: fc.constant(whole({ type: 'accepted' })) },
  { weight: 2, arbitrary: fc.constant(whole({ type: 'tick' })) },
  { weight: 8, arbitrary: fc.tuple(fc.nat(4), reports).map(([index, event]) => onAny(index, event)) },
  { weight: 6, arbitrary: fc.tuple(fc.nat(4), open).map(([index, summary]) => openAny(index, summary)) },
);
const moves = fc.record({ make: move, after: fc.constantFrom(0, 0, 10, 1_000, 5_000, 100_000) });
