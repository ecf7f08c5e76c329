import { closeSync } from 'node:fs';
import { Attr, bpf, infoOf } from './bpf.ts';

/** Where a program may be attached, by its number in `enum bpf_attach_type`. */
export const ATTACH_TYPES = {
  cgroup_inet4_connect: 10,
  cgroup_inet6_connect: 11,
  cgroup_udp4_sendmsg: 14,
  cgroup_udp6_sendmsg: 15,
  cgroup_udp4_recvmsg: 19,
  cgroup_udp6_recvmsg: 20,
  trace_iter: 28,
  cgroup_inet4_getpeername: 29,
  cgroup_inet6_getpeername: 30,
  tcx_ingress: 46,
  tcx_egress: 47,
} as const;

export type AttachType = keyof typeof ATTACH_TYPES;

/**
 * BPF_LINK_CREATE: attaches a program to a cgroup (Linux 5.7) or, by TCX, to a device of the calling thread's
 * namespace (6.6). Returns the link's descriptor: when the last one closes and no pin is left, it detaches.
 *
 * @param target A descriptor of the cgroup, or the device's ifindex.
 * @throws {SystemError} `EINVAL` where the kernel has no such link.
 */
export function createLink(program: number, target: number, type: AttachType): number {
  const attr = new Attr(48).u32(0, program).u32(4, target).u32(8, ATTACH_TYPES[type]);
  return bpf('LINK_CREATE', attr, `attach a program at ${type}`, `target ${target}`);
}

/**
 * Puts another program in a link's place, between two packets.
 *
 * @throws {SystemError} `ENOLINK` if the link is defunct: its device or cgroup is gone.
 */
export function updateLink(link: number, program: number): void {
  bpf('LINK_UPDATE', new Attr(16).u32(0, link).u32(4, program), 'replace the program of a link');
}

/**
 * Detaches at once and leaves the link defunct (Linux 5.9). Closing and unpinning would do it some time
 * later, and the place would stay taken until then.
 *
 * @throws {SystemError} `ENOLINK` if it was defunct already.
 */
export function detachLink(link: number): void {
  bpf('LINK_DETACH', new Attr(8).u32(0, link), 'detach a link');
}

export interface LinkInfo {
  readonly id: number;
  readonly programId: number;
  /** By its place in `enum bpf_link_type`: 3 is a cgroup's, 11 TCX. */
  readonly type: number;
  /** Of a TCX link, the device; 0 once it is gone. */
  readonly ifindex: number;
}

const TCX = 11;

export function linkInfo(fd: number): LinkInfo {
  const info = infoOf(fd, 64, `link of descriptor ${fd}`);
  const type = info.readUInt32LE(0);
  return {
    type,
    id: info.readUInt32LE(4),
    programId: info.readUInt32LE(8),
    ifindex: type === TCX ? info.readUInt32LE(16) : 0,
  };
}

/** Whether a TCX link has outlived its device: it is left in bpffs, attached to nothing. */
export function isDefunct(info: LinkInfo): boolean {
  return info.type === TCX && info.ifindex === 0;
}

/** BPF_F_ALLOW_MULTI: beside programs that others have attached to the cgroup. */
const ALLOW_MULTI = 2;
/** BPF_F_REPLACE (Linux 5.6). */
const REPLACE = 4;

/**
 * BPF_PROG_ATTACH to a cgroup: for kernels or cgroups without links. It outlives us, and is undone by
 * {@link detachFromCgroup} only.
 *
 * @param replacing The program attached so far, which gives way in the same moment.
 */
export function attachToCgroup(cgroup: number, program: number, type: AttachType, replacing?: number): void {
  const attr = new Attr(20).u32(0, cgroup).u32(4, program).u32(8, ATTACH_TYPES[type]);
  attr.u32(12, ALLOW_MULTI | (replacing === undefined ? 0 : REPLACE)).u32(16, replacing ?? 0);
  bpf('PROG_ATTACH', attr, `attach a program at ${type}`);
}

/** @throws {SystemError} `ENOENT` if this program is not attached there. */
export function detachFromCgroup(cgroup: number, program: number, type: AttachType): void {
  const attr = new Attr(20).u32(0, cgroup).u32(4, program).u32(8, ATTACH_TYPES[type]);
  bpf('PROG_DETACH', attr, `detach a program from ${type}`);
}

/** Runs `body` with a descriptor that is closed afterwards, whatever happens. */
export function withDescriptor<T>(fd: number, body: (fd: number) => T): T {
  try {
    return body(fd);
  } finally {
    closeSync(fd);
  }
}
