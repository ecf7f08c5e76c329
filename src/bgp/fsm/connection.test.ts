import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { deadlineOf, type Effect, type Event, idle, type State, type StateName, step } from './connection.ts';
import { LARGE_HOLD_TIME, type TimerOptions } from './timers.ts';

const options: TimerOptions = { connectRetryTime: 5_000, passive: false, delayOpenTime: 0 };
const passive: TimerOptions = { ...options, passive: true };
const cease = { type: 'NOTIFICATION', code: 6, subcode: 2, data: Buffer.alloc(0) } as const;
const malformed = { type: 'NOTIFICATION', code: 3, subcode: 1, data: Buffer.alloc(0) } as const;

/** Drives one connection on a clock of its own. */
function driver(driven: TimerOptions = options) {
  let state = idle as State;
  let now = 0;
  const feed = (event: Event): readonly Effect[] => {
    const result = step(state, event, { now, random: 1 }, driven);
    state = result.state;
    return result.effects;
  };
  return {
    feed,
    get state(): State {
      return state;
    },
    name: (): StateName => state.name,
    get now() {
      return now;
    },
    /** Moves the clock to the next deadline and past it. */
    tick(): readonly Effect[] {
      const deadline = deadlineOf(state);
      assert.ok(deadline !== undefined, `no deadline in ${state.name}`);
      now = deadline;
      return feed({ type: 'tick' });
    },
    wait(time: number): readonly Effect[] {
      now += time;
      return feed({ type: 'tick' });
    },
    /** Goes the straight way to a state. */
    to(name: StateName, holdTime = 90_000) {
      const way: Event[] = [
        { type: 'start' },
        { type: 'connected' },
        { type: 'open', holdTime },
        { type: 'keepalive' },
      ];
      for (const event of way) if (state.name !== name) feed(event);
      assert.equal(state.name, name);
      return this;
    },
  };
}

function types(effects: readonly Effect[]): string[] {
  return effects.map(({ type }) => type);
}

function sent(effects: readonly Effect[]): string | undefined {
  const effect = effects.find(({ type }) => type === 'sendNotification');
  return effect?.type === 'sendNotification'
    ? `${effect.notification.code}/${effect.notification.subcode}`
    : undefined;
}

describe('a connection', () => {
  test('comes up by the book', () => {
    const one = driver();
    assert.deepEqual(types(one.feed({ type: 'start' })), ['connect']);
    assert.equal(one.name(), 'Connect');
    assert.deepEqual(types(one.feed({ type: 'connected' })), ['sendOpen']);
    assert.equal(one.name(), 'OpenSent');
    assert.deepEqual(types(one.feed({ type: 'open', holdTime: 90_000 })), ['sendKeepalive']);
    assert.equal(one.name(), 'OpenConfirm');
    assert.deepEqual(types(one.feed({ type: 'keepalive' })), ['established']);
    assert.equal(one.name(), 'Established');
  });

  test('waits without dialling where it is passive', () => {
    const one = driver(passive);
    assert.deepEqual(one.feed({ type: 'start' }), []);
    assert.equal(one.state.name, 'Active');
    assert.equal(deadlineOf(one.state), undefined);
    assert.deepEqual(types(one.feed({ type: 'connected' })), ['sendOpen']);
  });

  test('dials again after the connect retry time, whether TCP failed or hung', () => {
    const one = driver();
    one.feed({ type: 'start' });
    assert.deepEqual(types(one.tick()), ['close', 'connect'], 'hung');
    assert.equal(one.now, 5_000);
    assert.deepEqual(types(one.feed({ type: 'disconnected', error: 'ECONNREFUSED' })), ['close', 'down']);
    assert.equal(one.state.name, 'Active');
    assert.deepEqual(types(one.tick()), ['connect']);
    assert.equal(one.now, 10_000);
  });

  test('spreads its retries by jitter', () => {
    const at = (random: number) =>
      deadlineOf(step(idle, { type: 'start' }, { now: 0, random }, options).state);
    assert.equal(at(0), 3_750);
    assert.equal(at(0.5), 4_375);
  });

  test('holds its OPEN back where the operator wants the peer to speak first', () => {
    const patient = driver({ ...passive, delayOpenTime: 2_000 });
    patient.feed({ type: 'start' });
    assert.deepEqual(patient.feed({ type: 'connected' }), []);
    assert.deepEqual(types(patient.feed({ type: 'open', holdTime: 9_000 })), ['sendOpen', 'sendKeepalive']);
    assert.equal(patient.state.name, 'OpenConfirm');

    const bored = driver({ ...passive, delayOpenTime: 2_000 });
    bored.feed({ type: 'start' });
    bored.feed({ type: 'connected' });
    assert.deepEqual(types(bored.tick()), ['sendOpen']);
    assert.equal(bored.now, 2_000);
  });

  test('gives a silent peer four minutes for its OPEN', () => {
    const one = driver().to('OpenSent');
    assert.equal(deadlineOf(one.state), LARGE_HOLD_TIME);
    assert.equal(sent(one.tick()), '4/0');
    assert.equal(one.state.name, 'Idle');
  });

  test('sends a KEEPALIVE each third of the hold time and ends when the peer is silent', () => {
    const one = driver().to('Established');
    assert.deepEqual(types(one.tick()), ['sendKeepalive']);
    assert.equal(one.now, 30_000);
    one.tick();
    assert.equal(sent(one.wait(30_000)), '4/0');
    assert.equal(one.now, 90_000);
    assert.equal(one.state.name, 'Idle');
  });

  test('lives as long as KEEPALIVEs or UPDATEs come', () => {
    const one = driver().to('Established');
    for (let count = 0; count < 20; count++) {
      one.wait(80_000);
      one.feed({ type: 'sent' });
      one.feed({ type: count % 2 === 0 ? 'keepalive' : 'update' });
    }
    assert.equal(one.state.name, 'Established');
  });

  test('never sends more than one KEEPALIVE a second, and takes a shorter interval from the operator', () => {
    const quick = driver().to('Established', 3_000);
    quick.tick();
    assert.equal(quick.now, 1_000);
    const asked = driver({ ...options, keepaliveTime: 10_000 }).to('Established');
    asked.tick();
    assert.equal(asked.now, 10_000);
  });

  test('runs no timer at all where the hold time is zero', () => {
    const one = driver().to('Established', 0);
    assert.equal(deadlineOf(one.state), undefined);
    assert.deepEqual(one.wait(86_400_000), []);
  });

  test('drops a peer that talks but takes nothing for twice the hold time, without a NOTIFICATION', () => {
    const one = driver().to('Established');
    for (const _ of [1, 2, 3]) {
      one.wait(45_000);
      one.feed({ type: 'keepalive' });
    }
    const effects = one.wait(45_000);
    assert.deepEqual(types(effects), ['close', 'down']);
    assert.deepEqual(effects.at(-1), {
      type: 'down',
      reason: { type: 'sendHoldTimerExpired' },
      wasEstablished: true,
    });
  });

  const unexpected: [StateName, Event, string][] = [
    ['OpenSent', { type: 'keepalive' }, '5/1'],
    ['OpenSent', { type: 'update' }, '5/1'],
    ['OpenConfirm', { type: 'open', holdTime: 90_000 }, '5/2'],
    ['OpenConfirm', { type: 'update' }, '5/2'],
    ['Established', { type: 'open', holdTime: 90_000 }, '5/3'],
  ];
  for (const [name, event, expected] of unexpected) {
    test(`answers ${event.type} in ${name} with ${expected}`, () => {
      const one = driver().to(name);
      assert.equal(sent(one.feed(event)), expected);
      assert.equal(one.state.name, 'Idle');
    });
  }

  for (const name of ['OpenSent', 'OpenConfirm', 'Established'] as const) {
    test(`ends ${name} on a malformed message, a NOTIFICATION, a stop and a lost connection`, () => {
      assert.equal(sent(driver().to(name).feed({ type: 'malformed', notification: malformed })), '3/1');
      const told = driver().to(name).feed({ type: 'notification', notification: cease });
      assert.deepEqual(types(told), ['close', 'down'], 'a NOTIFICATION is not answered');
      assert.equal(sent(driver().to(name).feed({ type: 'stop', notification: cease })), '6/2');
      const silent = driver().to(name).feed({ type: 'stop', notification: undefined });
      assert.deepEqual(types(silent), ['close', 'down'], 'a graceful restart begins without a word');
      const lost = driver().to(name).feed({ type: 'disconnected', error: 'ECONNRESET' });
      assert.deepEqual(types(lost), ['close', 'down']);
    });
  }

  test('under any events never throws, and answers every end with exactly one close', () => {
    fc.assert(
      fc.property(fc.array(events, { maxLength: 60 }), anyOptions, (sequence, driven) => {
        let state: State = idle;
        let now = 0;
        for (const { event, after } of sequence) {
          now += after;
          const result = step(state, event, { now, random: 0.5 }, driven);
          const ends = result.effects.filter(({ type }) => type === 'down').length;
          assert.ok(ends <= 1, 'ended twice');
          if (ends === 1) assert.equal(types(result.effects).filter((type) => type === 'close').length, 1);
          const upBefore = state.name === 'Established';
          assert.equal(
            types(result.effects).includes('established'),
            result.state.name === 'Established' && !upBefore,
          );
          state = result.state;
          const deadline = deadlineOf(state);
          if (event.type === 'tick' && deadline !== undefined)
            assert.ok(deadline > now, `${state.name} is late`);
          if (
            state.name === 'Idle' ||
            (driven.passive && state.name === 'Active' && state.wait.for === 'tcp')
          ) {
            assert.equal(deadline, undefined, 'a resting state has no timer');
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

const notification = fc.constantFrom(cease, malformed);
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.constantFrom<Event>(
    { type: 'start' },
    { type: 'tick' },
    { type: 'connected' },
    { type: 'disconnected', error: 'ECONNRESET' },
    { type: 'keepalive' },
    { type: 'update' },
    { type: 'sent' },
    { type: 'superseded' },
    { type: 'stop', notification: undefined },
  ),
  fc.record({ type: fc.constant('open' as const), holdTime: fc.constantFrom(0, 3_000, 90_000) }),
  fc.record({
    type: fc.constantFrom('stop' as const, 'malformed' as const, 'notification' as const),
    notification,
  }),
);
const events = fc.record({ event, after: fc.constantFrom(0, 1, 1_000, 30_000, 300_000) });
const anyOptions: fc.Arbitrary<TimerOptions> = fc.record({
  connectRetryTime: fc.constant(5_000),
  passive: fc.boolean(),
  delayOpenTime: fc.constantFrom(0, 2_000),
});
