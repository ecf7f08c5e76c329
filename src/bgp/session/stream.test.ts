import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { frame } from '../wire/frame.ts';
import { KEEPALIVE } from '../wire/message.ts';
import { Outbox } from './outbox.ts';
import { MessageReader } from './reader.ts';
import { Turns } from './turns.ts';

describe('what a socket delivers', () => {
  const update = (size: number, fill: number) => frame('UPDATE', Buffer.alloc(4 + size, fill));

  test('is cut into the same messages however it arrives', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 20 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 300 })),
        (sizes, cuts) => {
          const messages = sizes.map(([size, fill]) => update(size, fill));
          const stream = Buffer.concat(messages);
          const reader = new MessageReader();
          const seen: Buffer[] = [];
          const buffer = Buffer.alloc(300);
          for (let at = 0; at < stream.length; ) {
            const length = Math.min(cuts.next().value ?? 1, stream.length - at);
            // One buffer for all reads, as the sockets have it: what is kept must be a copy.
            stream.copy(buffer, 0, at, at + length);
            reader.take(buffer.subarray(0, length));
            while (reader.next((message) => seen.push(Buffer.from(message)))) {}
            reader.settle();
            at += length;
          }
          assert.deepEqual(seen, messages);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('is refused where it is no BGP', () => {
    const reader = new MessageReader();
    reader.take(Buffer.from('GET / HTTP/1.1\r\nHost: leaf\r\n\r\n'));
    assert.throws(() => reader.next(() => {}), { name: 'MessageError', code: 1, subcode: 1 });
  });
});

describe('the outbox', () => {
  function rig() {
    const written: Uint8Array[][] = [];
    const pending: (() => void)[] = [];
    const told = { progress: 0, room: 0 };
    const outbox = new Outbox(
      (chunks, done) => {
        written.push([...chunks]);
        pending.push(done);
      },
      () => told.progress++,
      () => told.room++,
    );
    return { outbox, written, told, take: () => pending.shift()?.() };
  }
  const big = (fill: number) => new Uint8Array(60_000).fill(fill);

  test('lets a KEEPALIVE overtake everything that waits', () => {
    const { outbox, written, take } = rig();
    for (let fill = 0; fill < 5; fill++) outbox.push(big(fill));
    outbox.pushUrgent(KEEPALIVE);
    assert.deepEqual(written[0], [big(0)]);
    assert.deepEqual(written[1], [KEEPALIVE]);
    take();
    take();
    assert.deepEqual(written[2]?.[0], big(1));
  });

  test('says when it is full, takes what it was given all the same, and says when there is room', () => {
    const { outbox, told, take } = rig();
    const answers = Array.from({ length: 7 }, (_, fill) => outbox.push(big(fill)));
    assert.deepEqual(answers, [true, true, true, true, true, false, false]);
    assert.equal(outbox.backlog, 7 * 60_000);
    for (let count = 0; count < 10; count++) take();
    assert.equal(told.room, 1);
    assert.equal(outbox.backlog, 0);
    assert.equal(outbox.push(big(9)), true);
  });

  test('keeps the order of what is not urgent', () => {
    const { outbox, written, take } = rig();
    for (let fill = 0; fill < 100; fill++) outbox.push(Uint8Array.of(fill));
    for (let count = 0; count < 100; count++) take();
    assert.deepEqual(
      written.flat().map(([fill]) => fill),
      Array.from({ length: 100 }, (_, fill) => fill),
    );
  });
});

describe('turns', () => {
  test('are a few milliseconds for all together, and who waits goes on in order', () => {
    let now = 0;
    const soon: (() => void)[] = [];
    const turns = new Turns({ now: () => now, soon: (task) => soon.push(task) });
    assert.equal(turns.over, false);
    now = 6;
    assert.equal(turns.over, true);
    const log: string[] = [];
    const work = (name: string, cost: number) =>
      turns.later(() => {
        log.push(name);
        now += cost;
      });
    work('a', 6);
    work('b', 1);
    work('c', 1);
    soon.shift()?.();
    assert.deepEqual(log, ['a'], 'the first has used the whole turn');
    soon.shift()?.();
    assert.deepEqual(log, ['a', 'b', 'c']);
    soon.shift()?.();
    assert.equal(soon.length, 0, 'nothing is scheduled for nobody');
    assert.equal(turns.over, false);
  });
});
