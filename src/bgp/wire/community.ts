import { formatIPv4, type IPv4 } from '../../address/ip.ts';
import { macFromBytes } from '../../address/mac.ts';
import type { LargeCommunity } from './attribute.ts';

/** `65000:100` (RFC 1997). */
export function formatCommunity(value: number): string {
  return `${value >>> 16}:${value & 0xffff}`;
}

/** `65000:1:2`, numbers without leading zeros (RFC 8092 §4.1). */
export function formatLargeCommunity(value: LargeCommunity): string {
  return `${value.globalAdministrator}:${value.localData1}:${value.localData2}`;
}

const ROUTE_TARGET = 2;
const ROUTE_ORIGIN = 3;

/**
 * `target:64512:100`, `origin:10.0.0.1:100`, `encap:8`, `router-mac:02:00:00:00:00:01`, `bandwidth:64512:125000`
 * (bytes per second); anything else as `0x` and sixteen hex digits.
 */
export function formatExtendedCommunity(value: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  // The second bit says non-transitive and leaves the meaning alone (RFC 4360 §2).
  const type = bytes.readUInt8(0) & 0xbf;
  const subtype = bytes.readUInt8(1);
  const kind = subtype === ROUTE_TARGET ? 'target' : subtype === ROUTE_ORIGIN ? 'origin' : undefined;
  if (kind !== undefined && type <= 2) return `${kind}:${formatAdministered(type, bytes)}`;
  if (type === 0x03 && subtype === 0x0c) return `encap:${bytes.readUInt16BE(6)}`;
  if (type === 0x06 && subtype === 0x03) return `router-mac:${macFromBytes(bytes.subarray(2))}`;
  if (type === 0x00 && subtype === 0x04) return `bandwidth:${bytes.readUInt16BE(2)}:${bytes.readFloatBE(4)}`;
  return `0x${bytes.toString('hex')}`;
}

/** Two-octet AS, IPv4 address, or four-octet AS in front (RFC 4360 §3, RFC 5668). */
function formatAdministered(type: number, bytes: Buffer): string {
  if (type === 0) return `${bytes.readUInt16BE(2)}:${bytes.readUInt32BE(4)}`;
  const administrator = bytes.readUInt32BE(2);
  const name = type === 1 ? formatIPv4(administrator as IPv4) : administrator;
  return `${name}:${bytes.readUInt16BE(6)}`;
}
