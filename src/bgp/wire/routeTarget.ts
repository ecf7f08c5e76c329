import type { Cursor } from './cursor.ts';
import type { Nlri, RouteTargetNlri } from './nlri.ts';
import type { Writer } from './writer.ts';

const AS_BITS = 32;
const MAX_BITS = 96;

/** 0 bits are the default route of targets; otherwise the origin AS is always whole (RFC 4684 §4). */
export function checkRouteTarget(bytes: Buffer, at: number, end: number): number | string {
  const bits = bytes.readUInt8(at);
  if (bits !== 0 && (bits < AS_BITS || bits > MAX_BITS)) {
    return `a route target has 0 or 32 to 96 bits (value ${bits})`;
  }
  const length = 1 + ((bits + 7) >> 3);
  return at + length > end ? `the route target of ${bits} bits is cut off` : length;
}

export function decodeRouteTarget(cursor: Cursor): RouteTargetNlri {
  const length = cursor.u8();
  if (length === 0) return { kind: 'route-target', length, originAs: 0, target: 0n };
  const originAs = cursor.u32();
  const bytes = Buffer.alloc(8);
  cursor.take((length - AS_BITS + 7) >> 3).copy(bytes);
  const host = BigInt(MAX_BITS - length);
  return { kind: 'route-target', length, originAs, target: (bytes.readBigUInt64BE() >> host) << host };
}

export function writeRouteTarget(nlri: Nlri, to: Writer): void {
  if (nlri.kind !== 'route-target') throw new TypeError(`Cannot write route target: this is ${nlri.kind}`);
  to.u8(nlri.length);
  if (nlri.length === 0) return;
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(nlri.target);
  to.u32(nlri.originAs).put(bytes.subarray(0, (nlri.length - AS_BITS + 7) >> 3));
}
