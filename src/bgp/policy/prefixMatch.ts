import { bytesOf, familyOf } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';

/** A prefix in words and masks: what it takes to ask a million times whether something lies within. */
export interface PrefixMatch {
  readonly family: 4 | 6;
  readonly length: number;
  readonly words: readonly number[];
  readonly masks: readonly number[];
}

export function matchOf(prefix: Prefix): PrefixMatch {
  const bytes = bytesOf(prefix.address);
  const words: number[] = [];
  const masks: number[] = [];
  for (let word = 0; word < bytes.length / 4; word++) {
    words.push(bytes.readUInt32BE(4 * word));
    const bits = Math.min(32, Math.max(0, prefix.length - 32 * word));
    masks.push(bits === 0 ? 0 : (-1 << (32 - bits)) >>> 0);
  }
  return { family: familyOf(prefix.address), length: prefix.length, words, masks };
}

/** Whether a prefix, given by words and length, lies in `match` or equals it. */
export function within(match: PrefixMatch, family: 4 | 6, words: ArrayLike<number>, length: number): boolean {
  if (family !== match.family || length < match.length) return false;
  for (let word = 0; word < match.words.length; word++) {
    const bits = ((words[word] as number) & (match.masks[word] as number)) >>> 0;
    if (bits !== match.words[word]) return false;
  }
  return true;
}
