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
  cgroup_inet_sock_release: 34,
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
  /** Of a cgroup's link, the inode of the cgroup; 0 once it is gone. */
  readonly cgroup: bigint;
}

const CGROUP = 3;
const TCX = 11;

export function linkInfo(fd: number): LinkInfo {
  const info = infoOf(fd, 64, `link of descriptor ${fd}`);
  const type = info.readUInt32LE(0);
  return {
    type,
    id: info.readUInt32LE(4),
    programId: info.readUInt32LE(8),
    ifindex: type === TCX ? info.readUInt32LE(16) : 0,
    cgroup: type === CGROUP ? info.readBigUInt64LE(16) : 0n,
  };
}

/** Whether a link has outlived its device or cgroup: it is left in bpffs, attached to nothing. */
export function isDefunct({ type, ifindex, cgroup }: LinkInfo): boolean {
  return (type === TCX && ifindex === 0) || (type === CGROUP && cgroup === 0n);
}
