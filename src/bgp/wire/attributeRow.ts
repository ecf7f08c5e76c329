import type { AttributeOf, AttributeType } from './attribute.ts';
import type { Cursor } from './cursor.ts';
import { type Action, type Flaw, wrongLength } from './reason.ts';
import type { UpdateContext } from './update.ts';
import type { Writer } from './writer.ts';

export const FLAG_OPTIONAL = 0x80;
export const FLAG_TRANSITIVE = 0x40;
export const FLAG_PARTIAL = 0x20;
export const FLAG_EXTENDED = 0x10;

export const WELL_KNOWN = FLAG_TRANSITIVE;
export const OPTIONAL = FLAG_OPTIONAL;
export const OPTIONAL_TRANSITIVE = FLAG_OPTIONAL | FLAG_TRANSITIVE;

export type Check = (bytes: Buffer, start: number, end: number, context: UpdateContext) => Flaw | undefined;

/** The types that are read into values of their own by a row of the table; MP_* are read with their family. */
type RowType = Exclude<AttributeType, 'MP_REACH_NLRI' | 'MP_UNREACH_NLRI' | 'UNKNOWN'>;

/** How an attribute becomes a value and back. What has been checked is read without further ado. */
interface Codec<T extends RowType> {
  readonly decode: (value: Cursor, context: UpdateContext) => AttributeOf<T>;
  readonly encode: (attribute: AttributeOf<T>, to: Writer, context: UpdateContext) => void;
}

/** One attribute: everything RFC 7606 §3 and §7 and the attribute's own RFC say about it. */
export interface AttributeRow {
  readonly code: number;
  readonly name: string;
  /** Optional and Transitive as they must be; Partial is free where both are set (RFC 4271 §4.3). */
  readonly flags: number;
  /** What a malformed value calls for. */
  readonly malformed: Action;
  /** What wrong flags call for, where it is not `malformed`. */
  readonly wrongFlags?: Action;
  /** Never taken from an external peer (RFC 7606 §7.5, §7.9, §7.10). */
  readonly internalOnly?: true;
  readonly check: Check;
  /** Absent where the value is passed on as bytes. */
  readonly codec?: Codec<never>;
}

/** A row with a codec, its types checked against each other. */
export function row<T extends RowType>(fields: Omit<AttributeRow, 'codec'>, codec: Codec<T>): AttributeRow {
  return { ...fields, codec: codec as unknown as Codec<never> };
}

export const exactly =
  (length: number, then: Check = () => undefined): Check =>
  (bytes, start, end, context) =>
    end - start === length ? then(bytes, start, end, context) : wrongLength(`${length} bytes`, end - start);

export const multipleOf =
  (size: number): Check =>
  (_bytes, start, end) =>
    end > start && (end - start) % size === 0
      ? undefined
      : wrongLength(`a multiple of ${size} bytes and not 0`, end - start);

export function repeat<T>(value: Cursor, one: () => T): T[] {
  const all: T[] = [];
  while (value.remaining > 0) all.push(one());
  return all;
}
