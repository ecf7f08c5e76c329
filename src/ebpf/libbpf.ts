import type * as Koffi from 'koffi';
import { messageOf } from '../errors.ts';
import { koffi } from '../ffi/koffi.ts';
import { libc } from '../ffi/libc.ts';

/** A pointer to one of libbpf's own structs. */
export type Handle = bigint & { readonly libbpf: true };

const LIBRARY = 'libbpf.so.1';

/** Of `enum libbpf_print_level`: 0 warnings, 1 information, 2 and up what only its authors read. */
const DEBUG = 2;

type Print = (level: number, format: bigint, args: bigint) => number;

let functions: ReturnType<typeof declare> | undefined;
let said: string[] = [];

/**
 * libbpf, opened on first use: only the agent loads programs, the plugin opens what is pinned.
 *
 * @throws {Error} If the library is missing.
 */
export function libbpf(): ReturnType<typeof declare> {
  functions ??= declare();
  return functions;
}

/** Runs `body`, and returns with its result what libbpf said meanwhile: warnings and verifier logs. */
export function listening<T>(body: () => T): { result: T; log: string } {
  said = [];
  const result = body();
  return { result, log: said.join('') };
}

function declare() {
  const library = open();
  const f = <R, A extends unknown[]>(prototype: string) =>
    library.func(prototype) as unknown as (...a: A) => R;
  capture(f<unknown, [unknown]>('void *libbpf_set_print(void *)'));
  return {
    openFile: f<Handle | null, [string, null]>('void *bpf_object__open_file(const char *, void *)'),
    load: f<number, [Handle]>('int bpf_object__load(void *)'),
    close: f<void, [Handle]>('void bpf_object__close(void *)'),
    btf: f<Handle | null, [Handle]>('void *bpf_object__btf(void *)'),
    btfBytes: f<bigint | null, [Handle, Buffer]>('void *btf__raw_data(void *, void *)'),

    nextProgram: f<Handle | null, [Handle, Handle | null]>('void *bpf_object__next_program(void *, void *)'),
    programName: f<string, [Handle]>('const char *bpf_program__name(void *)'),
    programFd: f<number, [Handle]>('int bpf_program__fd(void *)'),
    setType: f<number, [Handle, number]>('int bpf_program__set_type(void *, int)'),
    setAttachType: f<number, [Handle, number]>('int bpf_program__set_expected_attach_type(void *, int)'),
    setAutoload: f<number, [Handle, boolean]>('int bpf_program__set_autoload(void *, bool)'),

    nextMap: f<Handle | null, [Handle, Handle | null]>('void *bpf_object__next_map(void *, void *)'),
    mapName: f<string, [Handle]>('const char *bpf_map__name(void *)'),
    mapFd: f<number, [Handle]>('int bpf_map__fd(void *)'),
    mapType: f<number, [Handle]>('int bpf_map__type(void *)'),
    keySize: f<number, [Handle]>('uint32_t bpf_map__key_size(void *)'),
    valueSize: f<number, [Handle]>('uint32_t bpf_map__value_size(void *)'),
    maxEntries: f<number, [Handle]>('uint32_t bpf_map__max_entries(void *)'),
    mapFlags: f<number, [Handle]>('uint32_t bpf_map__map_flags(void *)'),
    keyType: f<number, [Handle]>('uint32_t bpf_map__btf_key_type_id(void *)'),
    valueType: f<number, [Handle]>('uint32_t bpf_map__btf_value_type_id(void *)'),
    setMaxEntries: f<number, [Handle, number]>('int bpf_map__set_max_entries(void *, uint32_t)'),
    reuseFd: f<number, [Handle, number]>('int bpf_map__reuse_fd(void *, int)'),
    setPinPath: f<number, [Handle, null]>('int bpf_map__set_pin_path(void *, const char *)'),
    isInternal: f<boolean, [Handle]>('bool bpf_map__is_internal(void *)'),
    initialValue: f<bigint | null, [Handle, Buffer]>('void *bpf_map__initial_value(void *, void *)'),
    setInitialValue: f<number, [Handle, Buffer, number]>(
      'int bpf_map__set_initial_value(void *, void *, size_t)',
    ),
  };
}

function open(): Koffi.LibraryHandle {
  try {
    return koffi().load(LIBRARY);
  } catch (error) {
    throw new Error(`Cannot open ${LIBRARY}: install libbpf 1.1 or newer (${messageOf(error)})`, {
      cause: error,
    });
  }
}

/** Collects what libbpf would print. The verifier's log alone may be megabytes, so libc sizes the text. */
function capture(setPrint: (callback: unknown) => unknown): void {
  type Format = (text: Buffer, format: bigint, args: bigint) => number;
  const vasprintf = libc<Format>('int vasprintf(void *, void *, void *)');
  const free = libc<(pointer: bigint) => void>('void free(void *)');
  const text = Buffer.alloc(8);
  const print: Print = (level, format, args) => {
    if (level >= DEBUG) return 0;
    const length = vasprintf(text, format, args);
    if (length < 0) return 0;
    const pointer = text.readBigUInt64LE();
    said.push(koffi().decode.string(pointer));
    free(pointer);
    return length;
  };
  const prototype = koffi().proto('int (int, void *, void *)');
  setPrint(koffi().register(print, koffi().pointer(prototype)));
}
