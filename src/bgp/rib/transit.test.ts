import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIPv4 } from '../../address/ip.ts';
import type { Attribute } from '../wire/attribute.ts';
import { attributesOf, Neighbour, ribPeer, VirtualClock } from './rib.rig.ts';
import { Rib } from './rib.ts';

test('attributes nobody here knows go on with their Partial bit set, or not at all; known ones go on as they were', () => {
  const clock = new VirtualClock();
  const rib = new Rib({ clock, identifier: parseIPv4('10.0.0.254') });
  const client = { type: 'ibgp', reflectorClient: true } as const;
  const from = new Neighbour(ribPeer('n1', client)).up(rib);
  const to = new Neighbour(ribPeer('n2', client)).up(rib);
  const unknown = (code: number, flags: number): Attribute => {
    return { type: 'UNKNOWN', code, flags, value: Buffer.of(code) };
  };
  from.announce(
    ['10.1.0.0/24'],
    [
      ...attributesOf({ localPreference: 100, communities: [0xfde80001] }),
      { type: 'PMSI_TUNNEL', flags: 0, tunnelType: 6, label: 100, identifier: Buffer.of(10, 0, 0, 1) },
      unknown(98, 0x80),
      unknown(99, 0xc0),
      unknown(100, 0xe0),
    ],
  );
  clock.settle();
  const told = to.told.get('10.1.0.0/24') ?? [];
  const flags = told.flatMap((one) => (one.type === 'UNKNOWN' ? [[one.code, one.flags]] : []));
  assert.deepEqual(flags, [
    [99, 0xe0],
    [100, 0xe0],
  ]);
  const known = told.filter(({ type }) => type === 'COMMUNITIES' || type === 'PMSI_TUNNEL');
  assert.deepEqual(
    known.map((one) => ('partial' in one ? one.partial : false)),
    [false, false],
  );
});
