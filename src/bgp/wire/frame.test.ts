import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageError } from './error.ts';
import { checkHeader, Framer, frame, MAX_EXTENDED_LENGTH, MAX_LENGTH, type MessageType } from './frame.ts';
import { KEEPALIVE } from './message.ts';

const update = frame('UPDATE', Buffer.alloc(4));
const stream = Buffer.concat([KEEPALIVE, update, frame('NOTIFICATION', Buffer.of(6, 2)), KEEPALIVE]);

test('a stream is cut into the same messages wherever it is split', () => {
  for (let first = 0; first <= stream.length; first++) {
    for (let second = first; second <= stream.length; second++) {
      const types: MessageType[] = [];
      const seen: Buffer[] = [];
      const framer = new Framer();
      for (const chunk of [
        stream.subarray(0, first),
        stream.subarray(first, second),
        stream.subarray(second),
      ]) {
        framer.push(Buffer.from(chunk), (type, bytes, start, end) => {
          types.push(type);
          seen.push(Buffer.from(bytes.subarray(start, end)));
        });
      }
      assert.deepEqual(types, ['KEEPALIVE', 'UPDATE', 'NOTIFICATION', 'KEEPALIVE']);
      assert.deepEqual(Buffer.concat(seen), stream);
      assert.equal(framer.pending, 0);
    }
  }
});

test('a message that waits for its end does not live in the chunk of the socket', () => {
  const framer = new Framer();
  const chunk = Buffer.from(update.subarray(0, 20));
  framer.push(chunk, () => assert.fail('nothing is complete yet'));
  chunk.fill(0);
  let seen = Buffer.alloc(0);
  framer.push(Buffer.from(update.subarray(20)), (_type, bytes, start, end) => {
    seen = Buffer.from(bytes.subarray(start, end));
  });
  assert.deepEqual(seen, update);
});

test('an error of the receiver leaves what follows its message in the stream', () => {
  const framer = new Framer();
  assert.throws(() =>
    framer.push(Buffer.concat([update, KEEPALIVE]), () => {
      throw new Error('full');
    }),
  );
  assert.equal(framer.pending, KEEPALIVE.length);
});

function headerError(change: (bytes: Buffer) => void, from = KEEPALIVE, maxLength = MAX_LENGTH) {
  const bytes = Buffer.from(from);
  change(bytes);
  try {
    checkHeader(bytes, 0, maxLength);
  } catch (error) {
    assert.ok(error instanceof MessageError);
    return {
      code: error.code,
      subcode: error.subcode,
      data: error.data.toString('hex'),
      offset: error.offset,
    };
  }
  return undefined;
}

test('a broken marker is 1/1 and names the byte', () => {
  const error = headerError((bytes) => bytes.writeUInt8(0xfe, 7));
  assert.deepEqual(error, { code: 1, subcode: 1, data: '', offset: 7 });
});

test('a length that does not suit is 1/2 and echoes the length', () => {
  const cases: [Buffer, number][] = [
    [KEEPALIVE, 18],
    [KEEPALIVE, 20],
    [update, 22],
    [update, 4097],
    [frame('OPEN', Buffer.alloc(10)), 28],
    [frame('NOTIFICATION', Buffer.alloc(2)), 20],
  ];
  for (const [bytes, length] of cases) {
    const error = headerError((copy) => copy.writeUInt16BE(length, 16), bytes);
    const data = length.toString(16).padStart(4, '0');
    assert.deepEqual(error, { code: 1, subcode: 2, data, offset: 16 });
  }
});

test('extended messages may be long, but neither OPEN nor KEEPALIVE', () => {
  const long = (type: MessageType) =>
    headerError(() => {}, frame(type, Buffer.alloc(60000)), MAX_EXTENDED_LENGTH);
  assert.equal(long('UPDATE'), undefined);
  assert.equal(long('NOTIFICATION'), undefined);
  assert.equal(long('OPEN')?.subcode, 2);
  assert.equal(long('KEEPALIVE')?.subcode, 2);
});

test('an unknown type is 1/3 and echoes the type', () => {
  for (const type of [0, 6, 255]) {
    const error = headerError((bytes) => bytes.writeUInt8(type, 18));
    assert.deepEqual(error, { code: 1, subcode: 3, data: type.toString(16).padStart(2, '0'), offset: 18 });
  }
});
