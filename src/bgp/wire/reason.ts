/** What RFC 7606 §2 knows to do about an UPDATE with an error, from the weakest to the strongest. */
export const ACTIONS = [
  'attribute-discard',
  'treat-as-withdraw',
  'afi-safi-disable',
  'session-reset',
] as const;
export type Action = (typeof ACTIONS)[number];

/** Subcodes of UPDATE Message Error (RFC 4271 §6.3). */
export const UPDATE_SUBCODE = {
  malformedAttributeList: 1,
  unrecognizedWellKnown: 2,
  missingWellKnown: 3,
  attributeFlags: 4,
  attributeLength: 5,
  invalidOrigin: 6,
  invalidNextHop: 8,
  optionalAttribute: 9,
  invalidNetworkField: 10,
  malformedAsPath: 11,
} as const;

/** Why a value is malformed. */
export interface Flaw {
  readonly subcode: number;
  readonly message: string;
}

/** One error of an UPDATE and what it calls for on its own. */
export interface Reason extends Flaw {
  readonly action: Action;
  /** The attribute's type code. */
  readonly attribute?: number;
  /** Where in the message the attribute or field starts, header included. */
  readonly offset: number;
  /** What a NOTIFICATION about it would quote. */
  readonly data: Buffer;
}

export function strongest(actions: readonly Action[]): Action | undefined {
  return ACTIONS.findLast((action) => actions.includes(action));
}

export function wrongLength(wanted: string, got: number): Flaw {
  return {
    subcode: UPDATE_SUBCODE.attributeLength,
    message: `the length must be ${wanted} (value ${got})`,
  };
}
