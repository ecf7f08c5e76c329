import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { withDescriptor } from '../ebpf/bpf.ts';
import { createLink, detachLink, isDefunct, linkInfo, updateLink } from '../ebpf/link.ts';
import { listPins, openPin, renamePin, replacePin, unpin } from '../ebpf/pin.ts';
import { programInfo } from '../ebpf/program.ts';
import { hasCode } from '../ffi/systemError.ts';
import type { PinDirectory } from './directory.ts';
import type { PinnedPrograms } from './pinnedPrograms.ts';
import type { PodHook } from './podHooks.ts';

/**
 * The TCX links of a pod whose own device carries the programs (Linux 6.6). Pinned outside, they can be seen and
 * replaced from the node, and not removed from within the pod, whatever its capabilities.
 */

/**
 * Attaches a program, or puts it into the link that is there. The thread stands in the pod's namespace.
 *
 * @throws {SystemError} `EINVAL` if the kernel has no TCX.
 */
export function attachByLink(directory: PinDirectory, id: string, hook: PodHook, program: number): void {
  const path = directory.podLink(id, hook.program);
  mkdirSync(directory.podLinks(id), { recursive: true, mode: 0o700 });
  if (existsSync(path) && replaceProgram(path, program, hook.index)) return;
  try {
    const link = createLink(program, hook.index, `tcx_${hook.direction}`);
    withDescriptor(link, () => replacePin(link, path));
  } catch (error) {
    // Another attachment of the pod has put the same program on the loopback device they share.
    if (hook.shared && hasCode(error, 'EEXIST')) return;
    throw error;
  }
}

/** Whether a pinned link is on this device still, and has the program now. A defunct one is unpinned. */
function replaceProgram(path: string, program: number, index: number): boolean {
  return withDescriptor(openPin(path), (link) => {
    const info = linkInfo(link);
    if (!isDefunct(info) && info.ifindex === index) {
      updateLink(link, program);
      return true;
    }
    unpin(path);
    return false;
  });
}

/** Replaces the programs of all links of an attachment, from anywhere; defunct ones are left. */
export function replaceByLink(directory: PinDirectory, id: string, programs: PinnedPrograms): void {
  for (const name of listPins(directory.podLinks(id))) {
    withDescriptor(openPin(directory.podLink(id, name)), (link) => {
      try {
        updateLink(link, programs.get(name));
      } catch (error) {
        if (!hasCode(error, 'ENOLINK')) throw error;
      }
    });
  }
}

/**
 * Removes the links of an attachment. Those on the loopback device pass to another attachment of the pod, if
 * there is one.
 */
export function detachLinks(directory: PinDirectory, id: string, sharedHeir: string | undefined): void {
  const path = directory.podLinks(id);
  for (const name of listPins(path)) {
    const from = join(path, name);
    const to = sharedHeir === undefined ? undefined : directory.podLink(sharedHeir, name);
    if (to !== undefined && name === 'tb_lo' && !existsSync(to)) {
      renamePin(from, to);
      continue;
    }
    withDescriptor(openPin(from), detachIfAttached);
    unpin(from);
  }
  try {
    rmdirSync(path);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

/** A link whose device is gone, as after the end of a pod, is detached already. */
function detachIfAttached(link: number): void {
  try {
    detachLink(link);
  } catch (error) {
    if (!hasCode(error, 'ENOLINK')) throw error;
  }
}

/** The number of the program that a pinned link runs on this device; `undefined` if there is none. */
export function programOfLink(directory: PinDirectory, id: string, hook: PodHook): number | undefined {
  const path = directory.podLink(id, hook.program);
  if (!existsSync(path)) return undefined;
  return withDescriptor(openPin(path), (link) => {
    const info = linkInfo(link);
    return info.ifindex === hook.index ? info.programId : undefined;
  });
}

/** The number of a pinned program, by which links and filters refer to it. */
export function pinnedProgramId(path: string): number {
  return withDescriptor(openPin(path), (fd) => programInfo(fd).id);
}
