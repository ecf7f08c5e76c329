import type { Operation } from '../policy/policyRoute.ts';
import { prepend } from './asPath.ts';
import {
  AS_PATH,
  type AttributeBlock,
  COMMUNITIES,
  eachAttribute,
  flagsOf,
  LARGE_COMMUNITIES,
  LOCAL_PREF,
  OPTIONAL,
  PARTIAL,
  TRANSITIVE,
} from './pathAttributes.ts';

/** A change to one attribute: from its value, absent or not, to another; `undefined` is none. */
export interface AttributeEdit {
  readonly type: number;
  readonly change: (value: Uint8Array | undefined) => Uint8Array | undefined;
}

/** A route's priority is a metric, LOCAL_PREF the other way round (Calico's mapping). */
const PRIORITY_BASE = 0x7fffffff;
/** The priority of a route that nobody gave one. */
const NORMAL_PRIORITY = 1024;

/** The kernel metric that a LOCAL_PREF stands for; ordinary preferences are no metrics. */
export function priorityOf(localPreference: number): number {
  const priority = PRIORITY_BASE - localPreference;
  return priority > 0 && priority <= PRIORITY_BASE / 2 ? priority : NORMAL_PRIORITY;
}

/**
 * Writes the attributes of `source` to `to`, changed by `edits`. With `leaving`, what is not known here is
 * treated as RFC 4271 §5 wants it before it goes to another speaker: marked partial, or left behind.
 */
export function applyEdits(
  to: AttributeBlock,
  source: Uint8Array,
  edits: readonly AttributeEdit[],
  leaving: boolean,
): void {
  const missing = new Set(edits.map(({ type }) => type));
  eachAttribute(source, 0, source.length, (type, flags, start, end) => {
    const kept = leaving ? flagsToSend(type, flags) : flags;
    if (kept === undefined) return;
    if (!missing.delete(type)) return to.put(type, kept, source, start, end);
    const value = changed(edits, type, source.subarray(start, end));
    if (value) to.put(type, kept, value);
  });
  for (const type of missing) {
    const value = changed(edits, type, undefined);
    if (value) to.put(type, flagsOf(type) ?? OPTIONAL | TRANSITIVE, value);
  }
  to.sort();
}

function changed(edits: readonly AttributeEdit[], type: number, value: Uint8Array | undefined) {
  return edits.reduce((at, edit) => (edit.type === type ? edit.change(at) : at), value);
}

function flagsToSend(type: number, flags: number): number | undefined {
  if (flagsOf(type) !== undefined) return flags;
  return (flags & TRANSITIVE) !== 0 ? flags | PARTIAL : undefined;
}

export function dropped(type: number): AttributeEdit {
  return { type, change: () => undefined };
}

export function setU32(type: number, value: number): AttributeEdit {
  return { type, change: () => u32(value) };
}

/** Sets a value only where there is none. */
export function defaultU32(type: number, value: number): AttributeEdit {
  return { type, change: (old) => old ?? u32(value) };
}

/** Puts a word in front of a list of them, as CLUSTER_LIST grows. */
export function prependU32(type: number, value: number): AttributeEdit {
  return { type, change: (old) => Uint8Array.of(...u32(value), ...(old ?? [])) };
}

export function prependAsPath(asns: readonly number[]): AttributeEdit {
  return { type: AS_PATH, change: (old) => prepend(asns, old ?? new Uint8Array()) };
}

export function addCommunity(community: number): AttributeEdit {
  return { type: COMMUNITIES, change: (old) => withMember(old, [community]) };
}

export function editOf(operation: Operation): AttributeEdit {
  switch (operation.kind) {
    case 'addCommunity':
      return addCommunity(operation.community);
    case 'addLargeCommunity':
      return { type: LARGE_COMMUNITIES, change: (old) => withMember(old, operation.community) };
    case 'prependASPath':
      return prependAsPath(operation.asns);
    case 'setPriority':
      return setU32(LOCAL_PREF, PRIORITY_BASE - operation.priority);
  }
}

/** A list of communities with one more, in ascending order and without duplicates, so that equal sets are equal bytes. */
function withMember(list: Uint8Array | undefined, words: readonly number[]): Uint8Array {
  const size = 4 * words.length;
  const member = Buffer.from(words.flatMap((word) => [...u32(word)]));
  const members = [member];
  for (let at = 0; list && at + size <= list.length; at += size) {
    members.push(Buffer.from(list.subarray(at, at + size)));
  }
  members.sort(Buffer.compare);
  return Buffer.concat(members.filter((one, index) => index === 0 || !one.equals(members[index - 1] ?? one)));
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}
