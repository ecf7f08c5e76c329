import { closeSync, mkdirSync, openSync, readdirSync, renameSync, statfsSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { tryLock } from '../ffi/flock.ts';
import { checked, libc } from '../ffi/libc.ts';
import { hasCode } from '../ffi/systemError.ts';
import { Attr, bpf, cString } from './bpf.ts';

/** `BPF_FS_MAGIC` of linux/magic.h. */
const BPF_FS = 0xcafe4a11;

const MOUNT_POINT = '/sys/fs/bpf';

/**
 * Makes a directory for pins, readable by root alone: who opens a pinned map can rewrite it. Mounts the BPF
 * file system at /sys/fs/bpf if the machine has not done so.
 *
 * @throws {Error} If the path lies outside a BPF file system: pins would be refused there with a bare EPERM.
 */
export function makePinDirectory(path: string): void {
  if (path === MOUNT_POINT || path.startsWith(`${MOUNT_POINT}/`)) mountOnce();
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (!onBpfFs(path)) {
    throw new Error(`Cannot pin under ${path}: it is not on a BPF file system`);
  }
}

/**
 * Makes this process the one that pins below a directory. There are no ordinary files, so the directory itself is locked.
 *
 * @returns How to give that up.
 * @throws {Error} As above, or if another process has it.
 */
export function claimPins(path: string): () => void {
  makePinDirectory(path);
  const fd = openSync(path, 'r');
  if (tryLock(fd)) return () => closeSync(fd);
  closeSync(fd);
  throw new Error(`Cannot pin under ${path}: another agent does`);
}

function mountOnce(): void {
  if (onBpfFs(MOUNT_POINT)) return;
  type Mount = (source: string, target: string, type: string, flags: number, data: string) => number;
  const mount = libc<Mount>(
    'int mount(const char *, const char *, const char *, unsigned long, const char *)',
  );
  checked(mount('bpf', MOUNT_POINT, 'bpf', 0, 'mode=0700'), `mount a BPF file system at ${MOUNT_POINT}`);
}

function onBpfFs(path: string): boolean {
  return statfsSync(path).type === BPF_FS;
}

/** BPF_OBJ_GET: opens whatever is pinned. The caller closes the descriptor. */
export function openPin(path: string): number {
  return bpf('OBJ_GET', new Attr(16).pointer(0, cString(path)), `open ${path}`);
}

/**
 * Pins a program, map or link where nothing may be yet.
 *
 * @throws {SystemError} `EEXIST` if something is; `EPERM` if a name holds a dot, which bpffs reserves.
 */
export function pin(fd: number, path: string): void {
  bpf('OBJ_PIN', new Attr(16).pointer(0, cString(path)).u32(8, fd), `pin ${path}`);
}

/** Pins in place of what is there, by rename: whoever opens the path gets the old object or the new one. */
export function replacePin(fd: number, path: string): void {
  const temporary = `${path}-new`;
  unpin(temporary);
  pin(fd, temporary);
  renameSync(temporary, path);
}

/** Removes a pin. Returns whether there was one. */
export function unpin(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** The names pinned in a directory, sorted; none if the directory is missing. */
export function listPins(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** Moves a pin, replacing what is at `to`. */
export function renamePin(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
  renameSync(from, to);
}
