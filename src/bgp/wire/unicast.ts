import type { Family, IP, IPv4, IPv6 } from '../../address/ip.ts';
import { bitsOf, bytesOf, familyOf } from '../../address/ip.ts';
import { networkOf, type Prefix } from '../../address/prefix.ts';
import type { Cursor } from './cursor.ts';
import type { Nlri, UnicastNlri } from './nlri.ts';
import type { Writer } from './writer.ts';

export function checkUnicast(bytes: Buffer, at: number, end: number, maxBits: 32 | 128): number | string {
  const bits = bytes.readUInt8(at);
  if (bits > maxBits) return `the prefix is longer than ${maxBits} bits (value ${bits})`;
  const length = 1 + ((bits + 7) >> 3);
  return at + length > end ? `the prefix of ${bits} bits is cut off` : length;
}

export function decodeUnicast(cursor: Cursor, family: Family): UnicastNlri {
  return { kind: 'prefix', prefix: readPrefix(cursor, family, cursor.u8()) };
}

export function writeUnicast(nlri: Nlri, to: Writer): void {
  if (nlri.kind !== 'prefix') throw new TypeError(`Cannot write unicast route: this is ${nlri.kind}`);
  to.u8(nlri.prefix.length);
  writePrefix(nlri.prefix, to);
}

/** As many bytes as `bits` needs; bits beyond it are cleared, so that equal prefixes are equal (RFC 4271 §4.3). */
export function readPrefix(cursor: Cursor, family: Family, bits: number): Prefix {
  const size = (bits + 7) >> 3;
  if (bits > bitsOf(family)) throw cursor.error(`the prefix is too long (value ${bits})`);
  let address: IP = 0 as IPv4;
  if (family === 4) {
    for (let index = 0; index < 4; index++) {
      address = ((address * 256 + (index < size ? cursor.u8() : 0)) >>> 0) as IPv4;
    }
  } else {
    let value = 0n;
    for (let index = 0; index < 16; index++) value = (value << 8n) | BigInt(index < size ? cursor.u8() : 0);
    address = value as IPv6;
  }
  return networkOf({ address, length: bits });
}

export function writePrefix(prefix: Prefix, to: Writer): void {
  to.put(bytesOf(prefix.address).subarray(0, (prefix.length + 7) >> 3));
}

export function prefixBits(prefix: Prefix): 32 | 128 {
  return bitsOf(familyOf(prefix.address));
}
