/**
 * The part of BTF that is needed to find things by name: where a member lies in a struct, and where a
 * constant lies in `.rodata`.
 *
 * @see https://docs.kernel.org/bpf/btf.html §2.2
 */

export interface BtfMember {
  readonly name: string;
  /** Bytes from the start of the struct or section. */
  readonly offset: number;
  /** Bytes; 0 for a bit field. */
  readonly size: number;
}

export interface BtfStruct {
  readonly name: string;
  readonly size: number;
  readonly members: readonly BtfMember[];
}

/** How a type lies in memory: the members of a struct, anything else as one member without a name. */
export interface Layout {
  readonly size: number;
  readonly members: readonly BtfMember[];
}

/** Of the entries of a map. */
export interface MapLayout {
  readonly key: Layout;
  readonly value: Layout;
}

export interface Btf {
  /** @throws {Error} If no struct or union has this name. */
  struct(name: string): BtfStruct;
  /**
   * The variables of a section such as `.rodata`, and the members of those that are structs as
   * `variable.member`; none if the section is missing.
   */
  variables(section: string): readonly BtfMember[];
  /** Of the type of this number. */
  layout(id: number): Layout;
  /** The values of an enum by name. @throws {Error} If no enum has this name. */
  enumeration(name: string): ReadonlyMap<string, number>;
}

interface Type {
  readonly kind: number;
  readonly name: string;
  readonly count: number;
  readonly bitFields: boolean;
  /** The size or the type referred to, by kind. */
  readonly word: number;
  /** What follows the common twelve bytes. */
  readonly rest: Buffer;
}

const KIND = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  function: 12,
  var: 14,
  section: 15,
  enum64: 19,
} as const;
const ALIASES = [8, 9, 10, 11, 18]; // typedef, volatile, const, restrict, type tag

/** Bytes behind the common part, by kind: fixed, then for each of `count` elements. */
const TAILS: Record<number, readonly [fixed: number, each: number]> = {
  1: [4, 0],
  3: [12, 0],
  4: [0, 12],
  5: [0, 12],
  6: [0, 8],
  13: [0, 8],
  14: [4, 0],
  15: [0, 12],
  17: [4, 0],
  19: [0, 12],
};

/** Linkages of a function, which BTF keeps where other kinds have the number of their elements (§2.2.12). */
const STATIC = 0;
const GLOBAL = 1;

/** Makes global functions static in place, except those of these names. @throws {Error} If it is no little-endian BTF. */
export function makeStatic(bytes: Buffer, except: ReadonlySet<string>): void {
  const { types, text } = sectionsOf(bytes);
  for (let at = 0; at < types.length; at += lengthAt(types, at)) {
    const { kind, count } = infoAt(types, at);
    if (kind !== KIND.function || count !== GLOBAL || except.has(text(types.readUInt32LE(at)))) continue;
    types.writeUInt16LE(STATIC, at + 4);
  }
}

/** Parses little-endian BTF, as `.BTF` holds it. @throws {Error} If it is not that. */
export function parseBtf(bytes: Buffer): Btf {
  const { types, text } = sectionsOf(bytes);
  const all = readTypes(types, text);

  const sizeOf = (id: number, depth = 0): number => {
    const type = all[id];
    if (type === undefined || depth > 32) return 0;
    if (type.kind === KIND.pointer) return 8;
    if (type.kind === KIND.array) {
      return sizeOf(type.rest.readUInt32LE(0), depth + 1) * type.rest.readUInt32LE(8);
    }
    if (ALIASES.includes(type.kind)) return sizeOf(type.word, depth + 1);
    return type.word;
  };
  const resolve = (id: number, depth = 0): Type | undefined => {
    const type = all[id];
    return type && depth < 32 && ALIASES.includes(type.kind) ? resolve(type.word, depth + 1) : type;
  };
  const find = (name: string, ...kinds: number[]) => {
    const found = all.find((type) => type?.name === name && kinds.includes(type.kind));
    if (found === undefined) {
      throw new Error(`Cannot find type in BTF: there is none of that name (value ${name})`);
    }
    return found;
  };

  return {
    struct: (name) => {
      const type = find(name, KIND.struct, KIND.union);
      return { name, size: type.word, members: membersOf(type, text, sizeOf) };
    },
    variables: (section) => {
      const type = all.find((type) => type?.kind === KIND.section && type.name === section);
      if (type === undefined) return [];
      return elements(type, 12).flatMap((bytes) => {
        const variable = all[bytes.readUInt32LE(0)];
        const name = variable?.name ?? '';
        const offset = bytes.readUInt32LE(4);
        const members = membersOf(resolve(variable?.word ?? 0), text, sizeOf);
        return [
          { name, offset, size: bytes.readUInt32LE(8) },
          ...members.map((member) => ({
            ...member,
            name: `${name}.${member.name}`,
            offset: offset + member.offset,
          })),
        ];
      });
    },
    layout: (id) => {
      const type = resolve(id);
      const size = sizeOf(id);
      const isStruct = type?.kind === KIND.struct || type?.kind === KIND.union;
      return { size, members: isStruct ? membersOf(type, text, sizeOf) : [{ name: '', offset: 0, size }] };
    },
    enumeration: (name) => {
      const type = find(name, KIND.enum, KIND.enum64);
      const each = type.kind === KIND.enum ? 8 : 12;
      return new Map(
        elements(type, each).map((bytes) => [text(bytes.readUInt32LE(0)), bytes.readInt32LE(4)]),
      );
    },
  };
}

function sectionsOf(bytes: Buffer): { types: Buffer; text: (offset: number) => string } {
  if (bytes.length < 24 || bytes.readUInt16LE(0) !== 0xeb9f) throw new Error('Cannot parse BTF: bad header');
  const header = bytes.readUInt32LE(4);
  const strings = bytes.subarray(header + bytes.readUInt32LE(16)).subarray(0, bytes.readUInt32LE(20));
  return {
    types: bytes.subarray(header + bytes.readUInt32LE(8)).subarray(0, bytes.readUInt32LE(12)),
    text: (offset) => strings.toString('latin1', offset, strings.indexOf(0, offset)),
  };
}

function infoAt(types: Buffer, at: number): { kind: number; count: number; bitFields: boolean } {
  const info = types.readUInt32LE(at + 4);
  return { kind: (info >>> 24) & 0x1f, count: info & 0xffff, bitFields: info >>> 31 === 1 };
}

function lengthAt(types: Buffer, at: number): number {
  const { kind, count } = infoAt(types, at);
  const [fixed, each] = TAILS[kind] ?? [0, 0];
  return 12 + fixed + each * count;
}

function readTypes(bytes: Buffer, text: (offset: number) => string): (Type | undefined)[] {
  const types: (Type | undefined)[] = [undefined]; // type 0 is void
  for (let at = 0; at < bytes.length; ) {
    const end = at + lengthAt(bytes, at);
    types.push({
      ...infoAt(bytes, at),
      name: text(bytes.readUInt32LE(at)),
      word: bytes.readUInt32LE(at + 8),
      rest: bytes.subarray(at + 12, end),
    });
    at = end;
  }
  return types;
}

function membersOf(
  type: Type | undefined,
  text: (offset: number) => string,
  sizeOf: (id: number) => number,
): BtfMember[] {
  if (type === undefined || (type.kind !== KIND.struct && type.kind !== KIND.union)) return [];
  return elements(type, 12).map((bytes) => {
    const position = bytes.readUInt32LE(8);
    const bits = type.bitFields ? position >>> 24 : 0;
    return {
      name: text(bytes.readUInt32LE(0)),
      offset: (type.bitFields ? position & 0xffffff : position) / 8,
      size: bits > 0 ? 0 : sizeOf(bytes.readUInt32LE(4)),
    };
  });
}

function elements(type: Type, size: number): Buffer[] {
  return Array.from({ length: type.count }, (_, index) =>
    type.rest.subarray(index * size, (index + 1) * size),
  );
}
