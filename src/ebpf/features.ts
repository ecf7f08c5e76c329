import { closeSync } from 'node:fs';
import { Attr, tryBpf } from './bpf.ts';
import { loads, tryLoadTiny } from './program.ts';

/**
 * Something the kernel can do or not. Probes load tiny programs and cost milliseconds: they run when something
 * has failed and the error should say why, and for `preflight`.
 */
export interface Feature {
  readonly name: string;
  /** The release that brought it, for people; distributions carry some features back. */
  readonly since: string;
  /** @throws {SystemError} `EPERM` if we may not load programs at all. */
  supported(): boolean;
}

const PROGRAM_TYPES = { sched_cls: 3, cgroup_sock_addr: 18 } as const;
const CGROUP_INET4_CONNECT = 10;
const TCX_INGRESS = 46;
const ENODEV = 19;

/** `BPF_CALL number; r0 = 0; exit`. A helper that does not exist is refused as such. */
function helperProgram(number: number): Buffer {
  return Buffer.concat([instruction(0x85, 0, number), instruction(0xb7, 0, 0), instruction(0x95, 0, 0)]);
}

/** `r0 = value; exit`. */
function returning(value: number): Buffer {
  return Buffer.concat([instruction(0xb7, 0, value), instruction(0x95, 0, 0)]);
}

function instruction(code: number, register: number, immediate: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt8(code, 0);
  bytes.writeUInt8(register, 1);
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}

/** A helper that takes its context alone, or nothing, and so can be called with r1 as it comes. */
function helper(name: string, since: string, type: keyof typeof PROGRAM_TYPES, number: number): Feature {
  const expectedAttachType = type === 'cgroup_sock_addr' ? CGROUP_INET4_CONNECT : 0;
  return {
    name,
    since,
    supported: () =>
      loads({ type: PROGRAM_TYPES[type], instructions: helperProgram(number), expectedAttachType }),
  };
}

export const FEATURES = {
  /** Refusing a connect() with an errno of our choice. */
  setRetval: {
    name: 'bpf_set_retval in socket programs',
    since: '5.18',
    supported: () => {
      // r1 = −ECONNREFUSED; call bpf_set_retval; r0 = 1; exit
      const instructions = Buffer.concat([
        instruction(0xb7, 1, -111),
        instruction(0x85, 0, 187),
        instruction(0xb7, 0, 1),
        instruction(0x95, 0, 0),
      ]);
      const type = PROGRAM_TYPES.cgroup_sock_addr;
      return loads({ type, instructions, expectedAttachType: CGROUP_INET4_CONNECT });
    },
  },
  /** Telling network namespaces apart in socket programs. */
  netnsCookie: helper('bpf_get_netns_cookie in socket programs', '5.7', 'cgroup_sock_addr', 122),
  /** A clock that costs programs next to nothing. */
  coarseClock: helper('bpf_ktime_get_coarse_ns', '5.11', 'sched_cls', 160),
  socketCookie: helper('bpf_get_socket_cookie in socket programs', '4.12', 'cgroup_sock_addr', 46),
  /** Links that sit on a device and cannot be removed with tc. */
  tcx: {
    name: 'TCX links',
    since: '6.6',
    supported: () => {
      const program = tryLoadTiny({ type: PROGRAM_TYPES.sched_cls, instructions: returning(-1) });
      if (program < 0) return false;
      // No device has this number: a kernel with TCX looks for it, one without refuses the attach type first.
      const attr = new Attr(48).u32(0, program).u32(4, 0x7fffffff).u32(8, TCX_INGRESS);
      const result = tryBpf('LINK_CREATE', attr);
      closeSync(program);
      return result === -ENODEV;
    },
  },
} as const satisfies Record<string, Feature>;

/** The error, or one that says what the kernel lacks; for callers whose attempt has just failed. */
export function explained(feature: Feature, error: unknown): unknown {
  if (feature.supported()) return error;
  return new Error(`Cannot use ${feature.name}: this kernel has none, Linux ${feature.since} does`, {
    cause: error,
  });
}
