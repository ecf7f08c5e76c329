import { mapOf, type Of, openObject, text } from '../schema.ts';
import { defineKind, type StoredObject } from './kind.ts';

const body = openObject(
  {},
  {
    type: text(),
    /** Values in base64, as the API server stores them. */
    data: mapOf(text()),
    /** The same as people write them. */
    stringData: mapOf(text()),
  },
);

/** Passwords of BGP sessions. Read one by one, never listed or watched. */
export const secret = defineKind({
  kind: 'Secret',
  apiVersion: 'v1',
  plural: 'secrets',
  namespaced: true,
  body,
  columns: [['TYPE', ({ type }) => type]],
});

export type Secret = StoredObject & Of<typeof body>;

/** A value of a secret, if it has one of that name. */
export function secretValue({ data = {}, stringData = {} }: Secret, key: string): string | undefined {
  const encoded = data[key];
  return stringData[key] ?? (encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString());
}
