import type { Segment } from './attribute.ts';
import type { Cursor } from './cursor.ts';
import { AS_TRANS, twoOctetAs } from './open.ts';
import { type Flaw, UPDATE_SUBCODE } from './reason.ts';
import type { Writer } from './writer.ts';

/** By type code, from 1 (RFC 4271 §4.3, RFC 5065 §3). */
const SEGMENT_TYPES = ['AS_SET', 'AS_SEQUENCE', 'AS_CONFED_SEQUENCE', 'AS_CONFED_SET'] as const;
const MAX_SEGMENT = 255;

export type AsnSize = 2 | 4;

/** RFC 7606 §7.2, and RFC 7607: AS 0 makes a path malformed. */
export function checkAsPath(
  bytes: Buffer,
  start: number,
  end: number,
  size: AsnSize,
  confederations: boolean,
): Flaw | undefined {
  const highest = confederations ? 4 : 2;
  for (let at = start; at < end; ) {
    if (end - at < 2) return malformed('a segment is cut off');
    const type = bytes.readUInt8(at);
    const count = bytes.readUInt8(at + 1);
    if (type < 1 || type > highest) return malformed(`no segment type ${type} is expected here`);
    if (count === 0) return malformed('a segment is empty');
    const next = at + 2 + count * size;
    if (next > end) return malformed(`a segment of ${count} AS numbers is cut off`);
    for (at += 2; at < next; at += size) {
      if ((size === 4 ? bytes.readUInt32BE(at) : bytes.readUInt16BE(at)) === 0) {
        return malformed('AS 0 is reserved (RFC 7607)');
      }
    }
  }
  return undefined;
}

function malformed(message: string): Flaw {
  return { subcode: UPDATE_SUBCODE.malformedAsPath, message };
}

/** Reads a path that `checkAsPath` has accepted. */
export function decodeAsPath(value: Cursor, size: AsnSize): Segment[] {
  const segments: Segment[] = [];
  while (value.remaining > 0) {
    const code = value.u8();
    const type = SEGMENT_TYPES[code - 1];
    if (type === undefined) throw value.error(`there is no segment type ${code}`);
    const count = value.u8();
    const asns = Array.from({ length: count }, () => (size === 4 ? value.u32() : value.u16()));
    segments.push({ type, asns });
  }
  return segments;
}

/** Sequences longer than 255 are continued in another segment (RFC 4271 §5.1.2). */
export function writeAsPath(segments: readonly Segment[], to: Writer, size: AsnSize): void {
  for (const { type, asns } of segments) {
    for (let from = 0; from < asns.length; from += MAX_SEGMENT) {
      const part = asns.slice(from, from + MAX_SEGMENT);
      to.u8(SEGMENT_TYPES.indexOf(type) + 1).u8(part.length);
      for (const asn of part) {
        if (size === 4) to.u32(asn);
        else to.u16(twoOctetAs(asn));
      }
    }
  }
}

/** As RFC 4271 §9.1.2.2 and RFC 5065 §5.3 count: a set is one, confederation segments are nothing. */
export function pathLength(segments: readonly Segment[]): number {
  return segments.reduce((sum, { type, asns }) => {
    if (type === 'AS_SEQUENCE') return sum + asns.length;
    return type === 'AS_SET' ? sum + 1 : sum;
  }, 0);
}

/** Whether a path loses something when it is written with two octets. */
export function needsFourOctets(segments: readonly Segment[]): boolean {
  return segments.some(({ asns }) => asns.some((asn) => asn > 0xffff));
}

export function withoutConfederations(segments: readonly Segment[]): Segment[] {
  return segments.filter(({ type }) => type === 'AS_SEQUENCE' || type === 'AS_SET');
}

/**
 * The real path behind a two-octet speaker (RFC 6793 §4.2.3): the leading part of AS_PATH, as long as it is
 * longer, and then AS4_PATH. AS4_PATH is ignored where it is the longer one, or where AGGREGATOR says that
 * a two-octet speaker has aggregated since.
 */
export function mergeAs4Path(
  path: readonly Segment[],
  as4Path: readonly Segment[],
  aggregatorAs: number | undefined,
): readonly Segment[] {
  const surplus = pathLength(path) - pathLength(withoutConfederations(as4Path));
  if (surplus < 0 || (aggregatorAs !== undefined && aggregatorAs !== AS_TRANS)) return path;
  return joined([...leading(path, surplus), ...withoutConfederations(as4Path)]);
}

/** The first `length` of a path; confederation segments on the way come along for nothing. */
function leading(path: readonly Segment[], length: number): Segment[] {
  const taken: Segment[] = [];
  let left = length;
  for (const segment of path) {
    const confederation = segment.type !== 'AS_SEQUENCE' && segment.type !== 'AS_SET';
    if (left === 0 && !confederation) break;
    if (segment.type === 'AS_SEQUENCE') {
      const asns = segment.asns.slice(0, left);
      left -= asns.length;
      taken.push({ type: segment.type, asns });
    } else {
      taken.push(segment);
      if (!confederation) left--;
    }
  }
  return taken;
}

/** Neighbouring sequences as one, so that equal paths have equal bytes. */
function joined(segments: readonly Segment[]): Segment[] {
  const result: Segment[] = [];
  for (const segment of segments) {
    const last = result.at(-1);
    const fits = last !== undefined && last.asns.length + segment.asns.length <= MAX_SEGMENT;
    if (fits && last.type === 'AS_SEQUENCE' && segment.type === 'AS_SEQUENCE') {
      result[result.length - 1] = { type: 'AS_SEQUENCE', asns: [...last.asns, ...segment.asns] };
    } else {
      result.push(segment);
    }
  }
  return result;
}
