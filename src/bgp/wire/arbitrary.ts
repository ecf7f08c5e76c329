import fc from 'fast-check';
import type { IPv4 } from '../../address/ip.ts';
import type { Capability } from './capability.ts';
import { afiSafiOf } from './family.ts';
import type { Open } from './open.ts';

/** What properties are tested with: every message that may exist, once per type. */

/** Records as the decoders make them, with a prototype. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u24 = fc.integer({ min: 0, max: 0xffffff });
const asn = fc.integer({ min: 1, max: 0xffffffff });
const family = fc.tuple(u16, u8).map(([afi, safi]) => afiSafiOf(afi, safi));
const few = <T>(one: fc.Arbitrary<T>, minLength = 0) => fc.array(one, { minLength, maxLength: 6 });
const known = new Set([1, 2, 5, 6, 9, 64, 65, 69, 70, 71, 73]);
const name = fc.string({ maxLength: 30, unit: 'grapheme' }).filter((text) => Buffer.byteLength(text) < 120);

export const capability: fc.Arbitrary<Capability> = fc.oneof(
  record({ name: fc.constant('multiprotocol' as const), family }),
  fc.constantFrom<Capability>(
    { name: 'route-refresh' },
    { name: 'extended-message' },
    { name: 'enhanced-route-refresh' },
  ),
  record({
    name: fc.constant('extended-next-hop' as const),
    entries: few(record({ family, nextHopAfi: u16 })),
  }),
  record({ name: fc.constant('role' as const), role: u8 }),
  record({
    name: fc.constant('graceful-restart' as const),
    restarting: fc.boolean(),
    notification: fc.boolean(),
    restartTime: fc.integer({ min: 0, max: 4095 }),
    families: few(record({ family, forwardingPreserved: fc.boolean() })),
  }),
  record({ name: fc.constant('four-octet-as' as const), asn }),
  record({
    name: fc.constant('add-path' as const),
    families: few(record({ family, mode: fc.constantFrom('receive' as const, 'send', 'both') }), 1),
  }),
  record({
    name: fc.constant('long-lived-graceful-restart' as const),
    families: few(record({ family, forwardingPreserved: fc.boolean(), staleTime: u24 })),
  }),
  record({ name: fc.constant('fqdn' as const), host: name, domain: name }),
  record({
    name: fc.constant('unknown' as const),
    code: u8.filter((code) => !known.has(code)),
    value: fc.uint8Array({ maxLength: 255 }).map((bytes) => Buffer.from(bytes)),
  }),
);

export const open: fc.Arbitrary<Open> = record({
  type: fc.constant('OPEN' as const),
  myAs: fc.integer({ min: 1, max: 0xffff }),
  holdTime: u16.filter((time) => time !== 1 && time !== 2),
  identifier: fc.integer({ min: 1, max: 0xffffffff }).map((id) => id as IPv4),
  capabilities: fc.array(capability, { maxLength: 12 }),
});
