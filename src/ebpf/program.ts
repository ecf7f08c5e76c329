import { closeSync } from 'node:fs';
import { SystemError } from '../ffi/systemError.ts';
import { Attr, bpf, infoOf, textOf, tryBpf } from './bpf.ts';

/** What the kernel knows about a loaded program. */
export interface ProgramInfo {
  readonly id: number;
  /** At most 15 characters. */
  readonly name: string;
  /** A digest of the instructions, 16 hex digits: equal tags, equal code. */
  readonly tag: string;
  /** By its place in `enum bpf_prog_type`. */
  readonly type: number;
}

export function programInfo(fd: number): ProgramInfo {
  const info = infoOf(fd, 104, `program of descriptor ${fd}`);
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    tag: info.toString('hex', 8, 16),
    name: textOf(info.subarray(64, 80)),
  };
}

/** Instructions that the verifier went through until it took the program: `bpf_prog_info.verified_insns`, since Linux 5.16. */
export function verifiedInstructions(fd: number): number {
  return infoOf(fd, 232, `program of descriptor ${fd}`).readUInt32LE(216);
}

export interface TestRun {
  /** The packet, from its Ethernet header on. */
  readonly data?: Buffer;
  /** The context, for instance a `__sk_buff` of {@link SkBuff}. Optional. */
  readonly context?: Buffer;
  /** How often to run it; `duration` is then the mean. @default 1 */
  readonly repeat?: number;
  /** Room for the packet to grow. @default 512 */
  readonly growth?: number;
}

export interface TestRunResult {
  /** What the program returned, signed: TC_ACT_UNSPEC is −1. */
  readonly verdict: number;
  readonly data: Buffer;
  readonly context: Buffer;
  /** Nanoseconds of one run. */
  readonly duration: number;
}

/**
 * Runs a program on one packet without a device (BPF_PROG_TEST_RUN), in the network namespace of the calling
 * thread. Helpers have their full effect on maps; a redirect is only seen as its verdict.
 */
export function testRun(fd: number, { data, context, repeat = 1, growth = 512 }: TestRun): TestRunResult {
  const dataOut = Buffer.alloc((data?.length ?? 0) + (data ? growth : 0));
  const contextOut = Buffer.alloc(context?.length ?? 0);
  const attr = new Attr(80)
    .u32(0, fd)
    .u32(8, data?.length ?? 0)
    .u32(12, dataOut.length)
    .pointer(16, data)
    .pointer(24, dataOut)
    .u32(32, repeat)
    .u32(40, context?.length ?? 0)
    .u32(44, contextOut.length)
    .pointer(48, context)
    .pointer(56, contextOut);
  bpf('PROG_TEST_RUN', attr, `run program of descriptor ${fd}`);
  return {
    verdict: attr.bytes.readInt32LE(4),
    data: dataOut.subarray(0, attr.readU32(12)),
    context: contextOut.subarray(0, attr.readU32(44)),
    duration: attr.readU32(36),
  };
}

/** The fields of `struct __sk_buff` (linux/bpf.h) that a test run may set. Host order. */
export interface SkBuff {
  readonly mark?: number;
  readonly priority?: number;
  /** The device the packet came in by. */
  readonly ingressIfindex?: number;
  /** The device the program sits on; it must exist in the namespace of the calling thread. */
  readonly ifindex?: number;
  readonly cb?: readonly number[];
  readonly gsoSegments?: number;
  readonly gsoSize?: number;
}

const SK_BUFF = {
  size: 192,
  mark: 8,
  priority: 32,
  ingress: 36,
  ifindex: 40,
  cb: 48,
  segments: 164,
  gso: 176,
};

/** A `__sk_buff` for {@link testRun}. The kernel refuses one with other fields set. */
export function skBuff(fields: SkBuff): Buffer {
  const bytes = Buffer.alloc(SK_BUFF.size);
  bytes.writeUInt32LE((fields.mark ?? 0) >>> 0, SK_BUFF.mark);
  bytes.writeUInt32LE(fields.priority ?? 0, SK_BUFF.priority);
  bytes.writeUInt32LE(fields.ingressIfindex ?? 0, SK_BUFF.ingress);
  bytes.writeUInt32LE(fields.ifindex ?? 0, SK_BUFF.ifindex);
  (fields.cb ?? []).forEach((value, index) => {
    bytes.writeUInt32LE(value >>> 0, SK_BUFF.cb + 4 * index);
  });
  bytes.writeUInt32LE(fields.gsoSegments ?? 0, SK_BUFF.segments);
  bytes.writeUInt32LE(fields.gsoSize ?? 0, SK_BUFF.gso);
  return bytes;
}

/** Reads back what a program left in the context. */
export function readSkBuff(bytes: Buffer): Required<Pick<SkBuff, 'mark' | 'priority' | 'cb'>> {
  return {
    mark: bytes.readUInt32LE(SK_BUFF.mark),
    priority: bytes.readUInt32LE(SK_BUFF.priority),
    cb: [0, 1, 2, 3, 4].map((index) => bytes.readUInt32LE(SK_BUFF.cb + 4 * index)),
  };
}

/** Instructions as the kernel takes them, 8 bytes each. For probes: programs proper are compiled from `bpf/`. */
export interface TinyProgram {
  readonly type: number;
  readonly instructions: Buffer;
  readonly expectedAttachType?: number;
}

/** Loads a program of a few instructions without relocation. Returns its descriptor, or a negative errno. */
export function tryLoadTiny({ type, instructions, expectedAttachType = 0 }: TinyProgram): number {
  const attr = new Attr(72)
    .u32(0, type)
    .u32(4, instructions.length / 8)
    .pointer(8, instructions)
    .pointer(16, Buffer.from('GPL\0'))
    .u32(68, expectedAttachType);
  return tryBpf('PROG_LOAD', attr);
}

/** Loads and closes again: whether the kernel takes it. */
export function loads(program: TinyProgram): boolean {
  const fd = tryLoadTiny(program);
  if (fd >= 0) closeSync(fd);
  if (fd === -1) throw new SystemError('load a program', 1, 'are you root?');
  return fd >= 0;
}
