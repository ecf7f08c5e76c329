import { existsSync, fstatSync } from 'node:fs';
import { withDescriptor } from '../ebpf/bpf.ts';
import { openCgroup } from '../ebpf/cgroup.ts';
import { raw } from '../ebpf/codec.ts';
import { type AttachType, createLink, detachLink, isDefunct, linkInfo, updateLink } from '../ebpf/link.ts';
import { openMap } from '../ebpf/map.ts';
import { listPins, openPin, replacePin, unpin } from '../ebpf/pin.ts';
import { hasCode } from '../ffi/systemError.ts';
import type { PinDirectory } from './directory.ts';
import { MAPS } from './layout.ts';

/**
 * Where each socket program sits. The one that makes room in `tb_tcp_service` comes before those that fill it.
 */
const HOOKS: Readonly<Record<string, AttachType>> = {
  tb_sock_release: 'cgroup_inet_sock_release',
  tb_connect4: 'cgroup_inet4_connect',
  tb_connect6: 'cgroup_inet6_connect',
  tb_sendmsg4: 'cgroup_udp4_sendmsg',
  tb_sendmsg6: 'cgroup_udp6_sendmsg',
  tb_recvmsg4: 'cgroup_udp4_recvmsg',
  tb_recvmsg6: 'cgroup_udp6_recvmsg',
  tb_getpeername4: 'cgroup_inet4_getpeername',
  tb_getpeername6: 'cgroup_inet6_getpeername',
};

/**
 * Attaches the socket programs to a cgroup, by links that are pinned and so outlive us. A link that is there
 * already gets the new program in place; one of another cgroup goes once the new one serves.
 */
export function attachCgroupPrograms(
  directory: PinDirectory,
  cgroup: string,
  programs: ReadonlyMap<string, number>,
): void {
  withDescriptor(openCgroup(cgroup), (target) => {
    const inode = fstatSync(target, { bigint: true }).ino;
    for (const [name, type] of Object.entries(HOOKS)) {
      const program = programs.get(name);
      if (program === undefined) throw new Error(`Cannot attach ${name}: it is not loaded`);
      const path = directory.cgroupLink(name);
      if (existsSync(path) && withDescriptor(openPin(path), (link) => updated(link, program, inode)))
        continue;
      replaceLink(path, createLink(program, target, type));
      if (name === 'tb_sock_release') forgetTcpServices(directory);
    }
  });
}

/**
 * Frees all places of `tb_tcp_service`: sockets that were closed while nobody looked have left theirs taken. Who is
 * connected is told the backend from now on.
 */
function forgetTcpServices(directory: PinDirectory): void {
  const { key, value } = MAPS.tb_tcp_service;
  const map = openMap(directory.map('tb_tcp_service'), key, raw(value.size));
  try {
    const taken = [...map.entries()].filter(([, place]) => place.some((byte) => byte !== 0));
    map.setAll(taken.map(([place]) => [place, Buffer.alloc(value.size)]));
  } finally {
    map.close();
  }
}

/** Puts the program into a link, unless the link belongs elsewhere. */
function updated(link: number, program: number, cgroup: bigint): boolean {
  const info = linkInfo(link);
  if (isDefunct(info) || info.cgroup !== cgroup) return false;
  updateLink(link, program);
  return true;
}

function replaceLink(path: string, link: number): void {
  withDescriptor(link, () => {
    const old = existsSync(path) ? openPin(path) : undefined;
    replacePin(link, path);
    if (old !== undefined) withDescriptor(old, detachQuietly);
  });
}

/** Ends socket translation: who is connected stays so, who connects from now on does it untranslated. */
export function detachCgroupPrograms(directory: PinDirectory): void {
  for (const name of listPins(directory.cgroup)) {
    const path = directory.cgroupLink(name);
    withDescriptor(openPin(path), detachQuietly);
    unpin(path);
  }
}

/** A link whose cgroup is gone is detached already. */
function detachQuietly(link: number): void {
  try {
    detachLink(link);
  } catch (error) {
    if (!hasCode(error, 'ENOLINK')) throw error;
  }
}
