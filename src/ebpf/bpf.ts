import { closeSync } from 'node:fs';
import { koffi } from '../ffi/koffi.ts';
import { libc } from '../ffi/libc.ts';
import { SystemError } from '../ffi/systemError.ts';

/** Commands of bpf(2), by their place in `enum bpf_cmd` of linux/bpf.h. */
const COMMANDS = {
  MAP_CREATE: 0,
  MAP_LOOKUP_ELEM: 1,
  MAP_UPDATE_ELEM: 2,
  MAP_DELETE_ELEM: 3,
  MAP_GET_NEXT_KEY: 4,
  PROG_LOAD: 5,
  OBJ_PIN: 6,
  OBJ_GET: 7,
  PROG_TEST_RUN: 10,
  MAP_GET_FD_BY_ID: 14,
  OBJ_GET_INFO_BY_FD: 15,
  BTF_GET_FD_BY_ID: 19,
  MAP_LOOKUP_BATCH: 24,
  MAP_UPDATE_BATCH: 26,
  MAP_DELETE_BATCH: 27,
  LINK_CREATE: 28,
  LINK_UPDATE: 29,
  ITER_CREATE: 33,
  LINK_DETACH: 34,
} as const;

export type Command = keyof typeof COMMANDS;

/** The number of bpf(2) itself: it has no wrapper in libc. */
const SYSCALL = { x64: 321, arm64: 280 }[process.arch as 'x64' | 'arm64'];

/**
 * `union bpf_attr`: the fields of one command, at the byte offsets linux/bpf.h gives them, host order. What
 * is not written is zero, which the kernel demands of every byte it does not know.
 */
export class Attr {
  readonly bytes: Buffer;
  readonly #pointees: Buffer[] = [];

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
  }

  u32(offset: number, value: number): this {
    this.bytes.writeUInt32LE(value >>> 0, offset);
    return this;
  }

  u64(offset: number, value: bigint): this {
    this.bytes.writeBigUInt64LE(value, offset);
    return this;
  }

  /** Writes the address of `buffer`, and keeps it from being collected for as long as the attributes live. */
  pointer(offset: number, buffer: Buffer | undefined): this {
    if (buffer === undefined || buffer.length === 0) return this;
    this.#pointees.push(buffer);
    return this.u64(offset, BigInt(koffi().address(buffer)));
  }

  readU32(offset: number): number {
    return this.bytes.readUInt32LE(offset);
  }
}

/** A path or name as C wants it. */
export function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** The text in a fixed-size C array. */
export function textOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

let syscall: ((number: number, command: number, attr: Buffer, size: number) => number) | undefined;

/**
 * The attributes of the latest call. The kernel follows addresses that V8 knows nothing of: until the call is
 * over, this reference alone keeps their buffers alive.
 */
let inFlight: Attr | undefined;

/** Calls bpf(2). Returns a negative errno on failure, as the kernel itself does: no error object is built. */
export function tryBpf(command: Command, attr: Attr): number {
  if (SYSCALL === undefined) throw new Error(`Cannot call bpf(2): unknown architecture (${process.arch})`);
  syscall ??= libc('int syscall(long, int, void *, uint32_t)');
  inFlight = attr;
  const result = syscall(SYSCALL, COMMANDS[command], inFlight.bytes, attr.bytes.length);
  return result < 0 ? -koffi().errno() : result;
}

/**
 * Calls bpf(2); `what` completes "Cannot …" in the error.
 *
 * @throws {SystemError} With the kernel's errno.
 */
export function bpf(command: Command, attr: Attr, what: string, detail?: string): number {
  const result = tryBpf(command, attr);
  if (result < 0) throw new SystemError(what, -result, detail);
  return result;
}

/** BPF_OBJ_GET_INFO_BY_FD: what the kernel says about a program, map or link, `size` bytes at most. */
export function infoOf(fd: number, size: number, what: string): Buffer {
  return infoInto(fd, new Attr(size), what).bytes;
}

/** The same into a struct that has pointers of its own. */
export function infoInto(fd: number, info: Attr, what: string): Attr {
  const request = new Attr(16).u32(0, fd).u32(4, info.bytes.length).pointer(8, info.bytes);
  bpf('OBJ_GET_INFO_BY_FD', request, `read info of ${what}`);
  return info;
}

/** Runs `body` with a descriptor that is closed afterwards, whatever happens. */
export function withDescriptor<T>(fd: number, body: (fd: number) => T): T {
  try {
    return body(fd);
  } finally {
    closeSync(fd);
  }
}
