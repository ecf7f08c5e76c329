import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIPv4 } from '../../address/ip.ts';
import { open } from './arbitrary.ts';
import { MessageError } from './error.ts';
import { IPV4_UNICAST, IPV6_UNICAST } from './family.ts';
import { frame } from './frame.ts';
import { encodeMessage } from './message.ts';
import { asnOf, decodeOpen } from './open.ts';

test('decoding gives back the OPEN that was encoded, long parameters included', () => {
  fc.assert(fc.property(open, (message) => assert.deepEqual(decodeOpen(encodeMessage(message)), message)));
});

function body(
  parameters: string,
  { as = 'fde8', hold = '005a', id = '0a000001', version = '04' } = {},
): Buffer {
  return frame('OPEN', Buffer.from(`${version}${as}${hold}${id}${parameters}`, 'hex'));
}

function refused(message: Buffer): string {
  try {
    decodeOpen(message);
  } catch (error) {
    assert.ok(error instanceof MessageError);
    return `${error.code}/${error.subcode} ${error.data.toString('hex')}`.trim();
  }
  return 'accepted';
}

test('one capability per parameter reads like all in one', () => {
  const many = decodeOpen(body('0c' + '020601040001' + '0001' + '02020200'));
  const one = decodeOpen(body('0a' + '0208' + '010400010001' + '0200'));
  assert.deepEqual(many, one);
  assert.deepEqual(one.capabilities, [
    { name: 'multiprotocol', family: IPV4_UNICAST },
    { name: 'route-refresh' },
  ]);
});

test('extended parameters are known by their type, whatever the first length says', () => {
  for (const first of ['ff', '04', '01']) {
    const message = decodeOpen(body(`${first}ff0009020006010400020001`));
    assert.deepEqual(message.capabilities, [{ name: 'multiprotocol', family: IPV6_UNICAST }]);
  }
});

test('the real AS number comes from the capability', () => {
  const message = decodeOpen(body('08' + '0206' + '410400' + '10f447', { as: '5ba0' }));
  assert.equal(message.myAs, 23456);
  assert.equal(asnOf(message), 1111111);
});

test('what RFC 4271 section 6.2 refuses is refused with its subcode and data', () => {
  assert.equal(refused(body('00', { version: '03' })), '2/1 0004');
  assert.equal(refused(body('00', { as: '0000' })), '2/2');
  assert.equal(refused(body('08' + '0206' + '4104' + '00000000')), '2/2');
  assert.equal(refused(body('00', { id: '00000000' })), '2/3');
  assert.equal(refused(body('03' + '010100')), '2/4');
  assert.equal(refused(body('00', { hold: '0001' })), '2/6');
  assert.equal(refused(body('00', { hold: '0002' })), '2/6');
  assert.equal(refused(body('00', { hold: '0000' })), 'accepted');
});

test('lengths that contradict each other are 2/0', () => {
  for (const parameters of [
    '01', // a length, no parameter
    '0002', // more bytes than the length says
    '0302020200', // the parameter is longer than all parameters
    '0402020203', // the capability is longer than its parameter
    '020201', // a parameter type without length
    '0502030103000001', // multiprotocol of three bytes
    '05020341020001', // AS number of two bytes
    'ffff0005020001', // extended, cut off
  ]) {
    assert.equal(refused(body(parameters)), '2/0', parameters);
  }
});

test('an add-path mode that does not exist makes the capability unknown, not the OPEN wrong', () => {
  const { capabilities } = decodeOpen(body('08' + '0206' + '4504' + '00010104'));
  assert.deepEqual(capabilities, [{ name: 'unknown', code: 69, value: Buffer.from('00010104', 'hex') }]);
});

test('capabilities may repeat, and the router is known by name', () => {
  const { capabilities } = decodeOpen(
    encodeMessage({
      type: 'OPEN',
      myAs: 64512,
      holdTime: 90,
      identifier: parseIPv4('10.0.0.1'),
      capabilities: [
        { name: 'route-refresh' },
        { name: 'route-refresh' },
        { name: 'fqdn', host: 'leaf-1', domain: 'dc' },
      ],
    }),
  );
  assert.equal(capabilities.length, 3);
  assert.deepEqual(capabilities[2], { name: 'fqdn', host: 'leaf-1', domain: 'dc' });
});
