import type { MessageError } from './error.ts';
import { type AfiSafi, afiOf, familyName, safiOf } from './family.ts';
import { notificationName } from './notification.ts';

/** Something JSON can carry: text for addresses, hex for bytes, no bigint. */
export type Plain = { readonly [key: string]: unknown };

export function describeFamily(family: AfiSafi): Plain {
  return { family: familyName(family), afi: afiOf(family), safi: safiOf(family) };
}

/** What a NOTIFICATION about it would say, and where the trouble starts. */
export function describeError(error: Omit<MessageError, 'name'>): Plain {
  const { code, subcode, offset, message, data } = error;
  return { code, subcode, name: notificationName(error), offset, message, data: data.toString('hex') };
}
