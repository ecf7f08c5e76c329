import { closeSync } from 'node:fs';
import { koffi } from '../ffi/koffi.ts';
import { errnoName } from '../ffi/systemError.ts';
import { type Btf, type MapLayout, makeStatic, parseBtf } from './btf.ts';
import { type Handle, libbpf, listening } from './libbpf.ts';
import { type MapInfo, mapTypeName } from './map.ts';
import { summarise, VERIFIER_LOG } from './verifierLog.ts';

/** An object that the kernel, or libbpf on its behalf, would not take. */
export class LoadError extends Error {
  override readonly name = 'LoadError';
  /** Private, so that whoever prints the error does not print thousands of lines with it. */
  readonly #log: string;
  /** The symbolic errno, where there is one. */
  readonly code: string | undefined;

  constructor(path: string, reason: string, log = '', errno?: number) {
    const code = errno === undefined ? undefined : errnoName(errno);
    super(`Cannot load ${path}: ${reason}${code === undefined ? '' : ` (${code})`}`);
    this.#log = log;
    this.code = code;
  }

  /** All that libbpf and the verifier said; the message has its gist. */
  get log(): string {
    return this.#log;
  }

  /** Whether it was the verifier that would not take it. */
  get refused(): boolean {
    return this.#log.includes(VERIFIER_LOG);
  }
}

const ATTEMPTS = 10;

export interface LoadOptions {
  /** Values of `const volatile` variables: `name`, or `name.member`. Numbers take the variable's width. */
  readonly constants?: Readonly<Record<string, number | bigint | Buffer>>;
  /** Sizes of maps, by name, in place of those compiled in. */
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** Asked for every map: an open map to use in its place, of the same shape, or `undefined` to create one. */
  readonly reuse?: (wanted: WantedMap) => number | undefined;
  /** Only these programs; all of them by default. */
  readonly programs?: readonly string[];
  /** Type and attach type, by their kernel numbers, of programs whose section does not say. */
  readonly types?: Readonly<Record<string, { readonly type: number; readonly attachType: number }>>;
  /** How its functions are verified; by default the one way, or the other where the kernel refuses that. */
  readonly verified?: Verified;
}

/**
 * How the verifier goes through the functions of a program that are not static: each one by itself, for any arguments of its types;
 * or at each call, for the arguments there, which may take tens of times as long (docs/adr/0014).
 */
export type Verified = 'by function' | 'by call';

/** A map that an object wants. */
export interface WantedMap extends Omit<MapInfo, 'id' | 'btf'> {
  readonly layout: MapLayout;
}

/** What {@link loadObject} has brought into the kernel. Descriptors end with `close`, pins outlive it. */
export interface LoadedObject {
  /** Descriptors by the programs' C names. */
  readonly programs: ReadonlyMap<string, number>;
  /** Descriptors by the maps' C names; without those the compiler made, such as `.rodata`. */
  readonly maps: ReadonlyMap<string, number>;
  readonly btf: Btf;
  readonly verified: Verified;
  /** Warnings of libbpf; empty as a rule. */
  readonly log: string;
  close(): void;
}

/**
 * Loads a compiled object: constants set, maps created or taken over, programs verified. Nothing is pinned.
 *
 * @throws {LoadError} With one line of summary and the full log; nothing stays in the kernel.
 */
export function loadObject(path: string, options: LoadOptions = {}): LoadedObject {
  if (options.verified !== undefined) return loadVerified(path, options, options.verified);
  try {
    return loadVerified(path, options, 'by function');
  } catch (error) {
    // Before Linux 6.8 nobody can tell the verifier that an argument is never NULL; before 5.12 it may be no pointer at all.
    if (!(error instanceof LoadError && error.refused)) throw error;
    return loadVerified(path, options, 'by call');
  }
}

function loadVerified(path: string, options: LoadOptions, verified: Verified): LoadedObject {
  for (let attempt = 1; ; attempt++) {
    try {
      return loadOnce(path, options, verified);
    } catch (error) {
      // A signal interrupts the verifier, and libbpf gives up after five of them.
      if (!(error instanceof LoadError && error.code === 'EAGAIN') || attempt === ATTEMPTS) throw error;
    }
  }
}

function loadOnce(path: string, options: LoadOptions, verified: Verified): LoadedObject {
  const object = openObject(path);
  try {
    const btf = btfOf(object, path);
    prepareMaps(object, path, btf, options);
    setConstants(object, path, btf, options.constants ?? {});
    preparePrograms(object, path, options);
    if (verified === 'by call') makeFunctionsStatic(object, path);
    const { result, log } = listening(() => libbpf().load(object));
    if (result < 0) throw new LoadError(path, summarise(log), log, -result);
    const wanted = (name: string) => options.programs?.includes(name) ?? true;
    return {
      programs: new Map(
        programsOf(object)
          .filter(({ name }) => wanted(name))
          .map(({ name, handle }) => [name, libbpf().programFd(handle)]),
      ),
      maps: new Map(
        mapsOf(object)
          .filter(({ handle }) => !libbpf().isInternal(handle))
          .map(({ name, handle }) => [name, libbpf().mapFd(handle)]),
      ),
      btf,
      verified,
      log,
      close: () => libbpf().close(object),
    };
  } catch (error) {
    libbpf().close(object);
    throw error;
  }
}

/** The BTF of an object file, without loading it. */
export function readBtf(path: string): Btf {
  const object = openObject(path);
  try {
    return btfOf(object, path);
  } finally {
    libbpf().close(object);
  }
}

function openObject(path: string): Handle {
  const { result, log } = listening(() => libbpf().openFile(path, null));
  if (result === null) throw new LoadError(path, summarise(log), log, koffi().errno());
  return result;
}

function btfOf(object: Handle, path: string): Btf {
  return parseBtf(Buffer.from(btfBytes(object, path)));
}

/** Where libbpf holds the BTF that it will hand to the kernel. */
function btfBytes(object: Handle, path: string): Buffer {
  const btf = libbpf().btf(object);
  if (btf === null) throw new LoadError(path, 'it carries no BTF, compile it with -g');
  const size = Buffer.alloc(4);
  const address = libbpf().btfBytes(btf, size);
  if (address === null) throw new LoadError(path, 'its BTF cannot be read');
  return Buffer.from(koffi().view(address, size.readUInt32LE()));
}

/** By what BTF says of their linkage the kernel decides how it verifies functions; the programs themselves stay global. */
function makeFunctionsStatic(object: Handle, path: string): void {
  makeStatic(btfBytes(object, path), new Set(programsOf(object).map(({ name }) => name)));
}

function prepareMaps(object: Handle, path: string, btf: Btf, { maxEntries = {}, reuse }: LoadOptions): void {
  const maps = mapsOf(object).filter(({ handle }) => !libbpf().isInternal(handle));
  for (const [name, entries] of Object.entries(maxEntries)) {
    const map = maps.find((map) => map.name === name);
    if (map !== undefined) succeeded(libbpf().setMaxEntries(map.handle, entries), path, `size map ${name}`);
  }
  for (const { name, handle } of maps) {
    // Whatever `pinning` the object asks for: what is pinned where is the loader's business.
    succeeded(libbpf().setPinPath(handle, null), path, `leave map ${name} unpinned`);
    const fd = reuse?.({
      name,
      type: mapTypeName(libbpf().mapType(handle)),
      keySize: libbpf().keySize(handle),
      valueSize: libbpf().valueSize(handle),
      maxEntries: libbpf().maxEntries(handle),
      flags: libbpf().mapFlags(handle),
      layout: {
        key: btf.layout(libbpf().keyType(handle)),
        value: btf.layout(libbpf().valueType(handle)),
      },
    });
    if (fd === undefined) continue;
    // libbpf keeps a duplicate of its own.
    const result = libbpf().reuseFd(handle, fd);
    closeSync(fd);
    succeeded(result, path, `take over map ${name}`);
  }
}

function setConstants(
  object: Handle,
  path: string,
  btf: Btf,
  constants: NonNullable<LoadOptions['constants']>,
): void {
  const sections = mapsOf(object)
    .map(({ name, handle }) => ({ handle, section: /\.rodata.*$/.exec(name)?.[0] ?? '' }))
    .filter(({ section }) => section !== '')
    .map(({ section, handle }) => ({
      handle,
      variables: btf.variables(section),
      bytes: initialValue(handle),
    }));
  for (const [name, value] of Object.entries(constants)) {
    const section = sections.find(({ variables }) => variables.some((variable) => variable.name === name));
    const variable = section?.variables.find((variable) => variable.name === name);
    if (!section || !variable) throw new LoadError(path, `it has no constant ${name}`);
    encodeConstant(value, variable.size, name).copy(section.bytes, variable.offset);
  }
  for (const { handle, bytes } of sections) {
    succeeded(libbpf().setInitialValue(handle, bytes, bytes.length), path, 'set constants');
  }
}

/** A copy of what the compiler put there. */
function initialValue(map: Handle): Buffer {
  const size = Buffer.alloc(8);
  const address = libbpf().initialValue(map, size);
  return address === null ? Buffer.alloc(0) : copyOf(address, size.readUInt32LE());
}

function copyOf(address: bigint, size: number): Buffer {
  return Buffer.from(new Uint8Array(koffi().view(address, size)));
}

function encodeConstant(value: number | bigint | Buffer, size: number, name: string): Buffer {
  if (Buffer.isBuffer(value)) {
    if (value.length === size) return value;
    throw new RangeError(`Cannot set constant ${name}: expected ${size} bytes (value ${value.length})`);
  }
  const wide = BigInt(value);
  if (BigInt.asUintN(size * 8, wide) !== wide && BigInt.asIntN(size * 8, wide) !== wide) {
    throw new RangeError(`Cannot set constant ${name}: it has ${size} bytes (value ${value})`);
  }
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, wide));
  return bytes.subarray(0, size);
}

function preparePrograms(object: Handle, path: string, { programs, types = {} }: LoadOptions): void {
  const all = programsOf(object);
  const missing = programs?.find((name) => !all.some((program) => program.name === name));
  if (missing !== undefined) throw new LoadError(path, `it has no program ${missing}`);
  for (const { name, handle } of all) {
    if (programs !== undefined) libbpf().setAutoload(handle, programs.includes(name));
    const wanted = types[name];
    if (wanted === undefined) continue;
    succeeded(libbpf().setType(handle, wanted.type), path, `set the type of ${name}`);
    succeeded(libbpf().setAttachType(handle, wanted.attachType), path, `set the attach type of ${name}`);
  }
}

function succeeded(result: number, path: string, what: string): void {
  if (result < 0) throw new LoadError(path, `libbpf will not ${what}`, '', -result);
}

interface Named {
  readonly name: string;
  readonly handle: Handle;
}

function programsOf(object: Handle): Named[] {
  return chain((previous) => libbpf().nextProgram(object, previous), libbpf().programName);
}

function mapsOf(object: Handle): Named[] {
  return chain((previous) => libbpf().nextMap(object, previous), libbpf().mapName);
}

function chain(next: (previous: Handle | null) => Handle | null, name: (handle: Handle) => string): Named[] {
  const found: Named[] = [];
  for (let handle = next(null); handle !== null; handle = next(handle)) {
    found.push({ name: name(handle), handle });
  }
  return found;
}
