import type { Family } from '../../address/ip.ts';
import type { Cursor } from './cursor.ts';
import type { RouteDistinguisher } from './distinguisher.ts';
import type { Nlri, VpnNlri } from './nlri.ts';
import { readPrefix, writePrefix } from './unicast.ts';
import type { Writer } from './writer.ts';

const LABEL_BITS = 24;
const DISTINGUISHER_BITS = 64;
/** In place of labels in a withdrawal; whatever stands there is ignored (RFC 8277 §2.4). */
const COMPATIBILITY = 0x800000;

/**
 * How many labels stand before the distinguisher. The stack ends with the bottom-of-stack bit; a speaker that
 * did not negotiate several labels sends one and may leave the bit alone (RFC 8277 §2.2).
 */
function countLabels(bytes: Buffer, at: number, bits: number, maxBits: number, withdrawn: boolean): number {
  if (withdrawn && bytes.readUIntBE(at, 3) === COMPATIBILITY) return 1;
  for (let count = 1; bits - count * LABEL_BITS >= DISTINGUISHER_BITS; count++) {
    const bottom = (bytes.readUInt8(at + count * 3 - 1) & 1) === 1;
    if (bottom) return bits - count * LABEL_BITS - DISTINGUISHER_BITS <= maxBits ? count : 1;
  }
  return 1;
}

export function checkVpn(
  bytes: Buffer,
  at: number,
  end: number,
  maxBits: number,
  withdrawn: boolean,
): number | string {
  const bits = bytes.readUInt8(at);
  const length = 1 + ((bits + 7) >> 3);
  if (at + length > end) return `the route of ${bits} bits is cut off`;
  if (bits < LABEL_BITS + DISTINGUISHER_BITS)
    return `a label and a distinguisher need 88 bits (value ${bits})`;
  const labels = countLabels(bytes, at + 1, bits, maxBits, withdrawn);
  const prefix = bits - labels * LABEL_BITS - DISTINGUISHER_BITS;
  return prefix > maxBits ? `the prefix is longer than ${maxBits} bits (value ${prefix})` : length;
}

export function decodeVpn(cursor: Cursor, family: Family, withdrawn: boolean): VpnNlri {
  const bits = cursor.u8();
  const count = countLabels(cursor.bytes, cursor.offset, bits, family === 4 ? 32 : 128, withdrawn);
  const labels = Array.from({ length: count }, () => cursor.u24() >>> 4);
  const distinguisher = cursor.u64() as RouteDistinguisher;
  const prefix = readPrefix(cursor, family, bits - count * LABEL_BITS - DISTINGUISHER_BITS);
  return { kind: 'vpn', labels: withdrawn ? [] : labels, distinguisher, prefix };
}

/** @throws {RangeError} If the labels leave no room for the prefix in a length of one byte. */
export function writeVpn(nlri: Nlri, to: Writer, withdrawn: boolean): void {
  if (nlri.kind !== 'vpn') throw new TypeError(`Cannot write VPN route: this is ${nlri.kind}`);
  const { labels, distinguisher, prefix } = nlri;
  const stack = withdrawn
    ? [COMPATIBILITY]
    : labels.map((label, index) => label * 16 + (index === labels.length - 1 ? 1 : 0));
  const bits = stack.length * LABEL_BITS + DISTINGUISHER_BITS + prefix.length;
  if (stack.length === 0 || bits > 255) {
    throw new RangeError(`Cannot write VPN route: it must have a label and at most 255 bits (value ${bits})`);
  }
  to.u8(bits);
  for (const label of stack) to.u24(label);
  to.u64(distinguisher);
  writePrefix(prefix, to);
}
