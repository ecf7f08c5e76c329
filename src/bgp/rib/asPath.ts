/** AS_PATH values with four octets per AS, as bytes (RFC 4271 §4.3, RFC 6793). */

const AS_SET = 1;
const AS_SEQUENCE = 2;
/** Stands for any AS number above 65535 where only two octets fit (RFC 6793 §9). */
export const AS_TRANS = 23456;

interface Segment {
  readonly type: number;
  readonly asns: readonly number[];
}

/** How long the path counts: a set is one, confederation segments are nothing (RFC 4271 §9.1.2.2, RFC 5065 §5.3). */
export function pathLength(path: Uint8Array, start = 0, end = path.length): number {
  let length = 0;
  for (let at = start; at + 2 <= end; at += 2 + 4 * (path[at + 1] as number)) {
    if (path[at] === AS_SEQUENCE) length += path[at + 1] as number;
    else if (path[at] === AS_SET) length++;
  }
  return length;
}

/** The AS the route was last announced by; 0 for a path without one. */
export function neighbourAs(path: Uint8Array, start = 0, end = path.length): number {
  return path[start] === AS_SEQUENCE && start + 6 <= end ? readAs(path, start + 2) : 0;
}

/** How often `as` stands in the path. */
export function occurrences(as: number, path: Uint8Array, start = 0, end = path.length): number {
  let count = 0;
  for (let at = start; at + 2 <= end; ) {
    const next = at + 2 + 4 * (path[at + 1] as number);
    for (at += 2; at + 4 <= Math.min(next, end); at += 4) if (readAs(path, at) === as) count++;
    at = next;
  }
  return count;
}

/** Whether the path begins with `asns`; a set stands for any one of its members. */
export function beginsWith(asns: readonly number[], path: Uint8Array): boolean {
  const steps = segmentsOf(path, 4).flatMap(({ type, asns: members }) =>
    type === AS_SEQUENCE ? members.map((as) => [as]) : type === AS_SET ? [members] : [],
  );
  return asns.every((as, index) => steps[index]?.includes(as) ?? false);
}

/** The path with `asns` in front, the first of them first. */
export function prepend(asns: readonly number[], path: Uint8Array): Uint8Array {
  const segments = segmentsOf(path, 4);
  const [first, ...rest] = segments;
  const joined =
    first?.type === AS_SEQUENCE && first.asns.length + asns.length <= 255
      ? [{ type: AS_SEQUENCE, asns: [...asns, ...first.asns] }, ...rest]
      : [{ type: AS_SEQUENCE, asns }, ...segments];
  return encode(joined, 4);
}

/** A path of two octets per AS, with the AS4_PATH beside it merged in (RFC 6793 §4.2.3). */
export function widen(path: Uint8Array, as4Path?: Uint8Array): Uint8Array {
  const old = segmentsOf(path, 2);
  const tail = as4Path ? segmentsOf(as4Path, 4).filter(({ type }) => type <= AS_SEQUENCE) : [];
  const surplus = countOf(old) - countOf(tail);
  if (tail.length === 0 || surplus < 0) return encode(old, 4);
  return encode(merged(takeLeading(old, surplus), tail), 4);
}

/** The path with two octets per AS, and the AS4_PATH that has to travel beside it, if any is lost. */
export function narrow(path: Uint8Array): { path: Uint8Array; as4Path?: Uint8Array } {
  const segments = segmentsOf(path, 4);
  const lossy = segments.some(({ asns }) => asns.some((as) => as > 0xffff));
  const narrowed = encode(segments, 2);
  return lossy
    ? {
        path: narrowed,
        as4Path: encode(
          segments.filter(({ type }) => type <= AS_SEQUENCE),
          4,
        ),
      }
    : { path: narrowed };
}

/** The path as operators write it: `64512 65001 {65010,65011}`. */
export function formatPath(path: Uint8Array): string {
  return segmentsOf(path, 4)
    .map(({ type, asns }) => {
      if (type === AS_SEQUENCE) return asns.join(' ');
      return type === AS_SET ? `{${asns.join(',')}}` : `(${asns.join(' ')})`;
    })
    .join(' ');
}

function segmentsOf(path: Uint8Array, width: 2 | 4): Segment[] {
  const segments: Segment[] = [];
  for (let at = 0; at + 2 <= path.length; ) {
    const type = path[at] as number;
    const asns: number[] = [];
    const end = at + 2 + width * (path[at + 1] as number);
    for (at += 2; at + width <= Math.min(end, path.length); at += width) {
      asns.push(width === 4 ? readAs(path, at) : ((path[at] as number) << 8) | (path[at + 1] as number));
    }
    segments.push({ type, asns });
    at = end;
  }
  return segments;
}

function encode(segments: readonly Segment[], width: 2 | 4): Uint8Array {
  const bytes: number[] = [];
  for (const { type, asns } of segments) {
    for (let at = 0; at < asns.length; at += 255) {
      const part = asns.slice(at, at + 255);
      bytes.push(type, part.length);
      for (const as of part) {
        const value = width === 2 && as > 0xffff ? AS_TRANS : as;
        if (width === 4) bytes.push(value >>> 24, (value >>> 16) & 255);
        bytes.push((value >>> 8) & 255, value & 255);
      }
    }
  }
  return Uint8Array.from(bytes);
}

function countOf(segments: readonly Segment[]): number {
  return segments.reduce(
    (sum, { type, asns }) => sum + (type === AS_SEQUENCE ? asns.length : type === AS_SET ? 1 : 0),
    0,
  );
}

/** The first `count` steps of a path, with the confederation segments that lie before and between them. */
function takeLeading(segments: readonly Segment[], count: number): Segment[] {
  const taken: Segment[] = [];
  let left = count;
  for (const segment of segments) {
    if (segment.type > AS_SEQUENCE) taken.push(segment);
    else if (left === 0) break;
    else if (segment.type === AS_SET) {
      taken.push(segment);
      left--;
    } else {
      const asns = segment.asns.slice(0, left);
      taken.push({ type: AS_SEQUENCE, asns });
      left -= asns.length;
    }
  }
  return taken;
}

/** Joins two paths; sequences that meet become one. */
function merged(head: readonly Segment[], tail: readonly Segment[]): Segment[] {
  const last = head.at(-1);
  const first = tail[0];
  if (
    last?.type === AS_SEQUENCE &&
    first?.type === AS_SEQUENCE &&
    last.asns.length + first.asns.length <= 255
  ) {
    return [
      ...head.slice(0, -1),
      { type: AS_SEQUENCE, asns: [...last.asns, ...first.asns] },
      ...tail.slice(1),
    ];
  }
  return [...head, ...tail];
}

function readAs(path: Uint8Array, at: number): number {
  return (
    (((path[at] as number) << 24) |
      ((path[at + 1] as number) << 16) |
      ((path[at + 2] as number) << 8) |
      (path[at + 3] as number)) >>>
    0
  );
}
