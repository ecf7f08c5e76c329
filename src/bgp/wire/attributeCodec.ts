import type { Attribute, MaybePartial } from './attribute.ts';
import { type AttributeRow, FLAG_EXTENDED, FLAG_PARTIAL } from './attributeRow.ts';
import { ATTRIBUTE_ROWS } from './attributeTable.ts';
import type { Cursor } from './cursor.ts';
import type { UpdateContext } from './update.ts';
import type { Writer } from './writer.ts';

const BY_CODE: readonly (AttributeRow | undefined)[] = Array.from({ length: 256 }, (_, code) =>
  ATTRIBUTE_ROWS.find((candidate) => candidate.code === code),
);
const BY_NAME: ReadonlyMap<string, AttributeRow> = new Map(
  ATTRIBUTE_ROWS.map((candidate) => [candidate.name, candidate]),
);

/** `undefined` for an attribute not known here. */
export function attributeRow(code: number): AttributeRow | undefined {
  return BY_CODE[code];
}

/** The type code of an attribute. */
export function codeOf(attribute: Attribute): number {
  return attribute.type === 'UNKNOWN' ? attribute.code : (BY_NAME.get(attribute.type)?.code ?? 0);
}

/** The flags an attribute is sent with, the length bit aside. */
export function attributeFlags(attribute: Attribute): number {
  if (attribute.type === 'UNKNOWN') return attribute.flags;
  const partial = (attribute as MaybePartial).partial ? FLAG_PARTIAL : 0;
  return (BY_NAME.get(attribute.type)?.flags ?? 0) | partial;
}

/** The registered name, or `ATTRIBUTE_99`. */
export function attributeName(code: number): string {
  return BY_CODE[code]?.name ?? `ATTRIBUTE_${code}`;
}

/** Reads a value that its row's `check` has accepted, with the flags it came with. */
export function decodeAttribute(
  code: number,
  flags: number,
  value: Cursor,
  context: UpdateContext,
): Attribute {
  const codec = BY_CODE[code]?.codec;
  if (codec === undefined) return { type: 'UNKNOWN', code, flags, value: Buffer.from(value.rest()) };
  const attribute = codec.decode(value, context) as Attribute;
  return (flags & FLAG_PARTIAL) === 0 ? attribute : ({ ...attribute, partial: true } as Attribute);
}

/** Flags, code, length and value; MP_* have writers of their own. */
export function writeAttribute(attribute: Attribute, to: Writer, context: UpdateContext): void {
  if (attribute.type === 'UNKNOWN') {
    writeRaw(attribute.flags, attribute.code, to, () => to.put(attribute.value));
    return;
  }
  const known = BY_NAME.get(attribute.type);
  if (known?.codec === undefined) throw new TypeError(`Cannot write ${attribute.type} without its family`);
  const { code, codec } = known;
  writeRaw(attributeFlags(attribute), code, to, () => codec.encode(attribute as never, to, context));
}

/** Writes what `body` writes as the value of an attribute; a value of more than 255 bytes gets a long length. */
export function writeRaw(flags: number, code: number, to: Writer, body: () => void): void {
  const start = to.length;
  to.u8(flags).u8(code);
  if ((flags & FLAG_EXTENDED) !== 0) {
    to.counted(2, body);
    return;
  }
  body();
  const value = Buffer.from(to.view(start + 2));
  to.truncate(start);
  if (value.length > 255)
    to.u8(flags | FLAG_EXTENDED)
      .u8(code)
      .u16(value.length);
  else to.u8(flags).u8(code).u8(value.length);
  to.put(value);
}
