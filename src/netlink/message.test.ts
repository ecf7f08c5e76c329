import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Attributes, attribute, nested, readAttributes, text, u32 } from './attribute.ts';
import { readAnswer, readMessages, refusal, writeMessage } from './message.ts';

const request = {
  type: 16,
  flags: 0x400,
  header: Buffer.alloc(16),
  attributes: [text(3, 'eth0'), undefined, nested(18, [text(1, 'veth'), u32(4, 1500)])],
  what: 'add link eth0',
  names: { IFLA_IFNAME: 3, IFLA_LINKINFO: 18 },
};

test('a message is written as the kernel lays it out', () => {
  const lines = [
    '44000000 1000 0104 07000000 00000000',
    '00'.repeat(16),
    '0900 0300 65746830 00 000000',
    '1800 1280',
    '0900 0100 76657468 00 000000',
    '0800 0400 dc050000',
  ];
  assert.equal(writeMessage(request, 7).toString('hex'), lines.join('').replaceAll(' ', ''));
});

test('attributes are read back as written, whatever their values', () => {
  const pair = fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 300 }));
  fc.assert(
    fc.property(fc.array(pair), (pairs) => {
      const bytes = Buffer.concat(pairs.map(([type, value]) => attribute(type, value)));
      const read = readAttributes(bytes).map(({ type, value }) => [type, [...value]]);
      assert.deepEqual(
        read,
        pairs.map(([type, value]) => [type, [...value]]),
      );
    }),
  );
});

test('the parsers refuse damaged bytes with a RangeError and nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        for (const message of readMessages(Buffer.from(bytes))) {
          readAnswer(message);
          new Attributes(message.payload).nested(1)?.ip(2);
        }
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test('a datagram cut in the middle of a message is refused with the offset', () => {
  const bytes = Buffer.concat([writeMessage(request, 1), writeMessage(request, 2).subarray(0, 30)]);
  assert.throws(() => readMessages(bytes), {
    name: 'RangeError',
    message: 'Cannot read netlink message at offset 68: 30 bytes are left (value 68)',
  });
});

test('a value shorter than asked for is refused by its type', () => {
  assert.throws(() => new Attributes(attribute(9, Buffer.alloc(2))).u32(9), {
    message: 'Cannot read attribute 9: expected 4 bytes or more (value 2)',
  });
});

test('a refusal names the errno, what the kernel says and the attribute at fault', () => {
  // Bytes 16 to 32 of the message are the header, 32 to 44 the name, then comes the nested one.
  const named = refusal(request, 22, { text: 'too long', offset: 32 });
  assert.equal(named.message, 'Cannot add link eth0: EINVAL (too long, attribute IFLA_IFNAME)');
  assert.equal(named.code, 'EINVAL');
  assert.match(refusal(request, 22, { offset: 48 }).message, /EINVAL \(attribute IFLA_LINKINFO\)/);
  assert.match(refusal(request, 22, { missingType: 9 }).message, /\(missing attribute 9\)/);
});

test('an attribute beyond 64 KiB is refused', () => {
  assert.throws(() => attribute(1, Buffer.alloc(65_536)), RangeError);
});
