import { closeSync } from 'node:fs';
import { openPin } from '../ebpf/pin.ts';
import type { PinDirectory } from './directory.ts';

/** Descriptors of the pinned programs, by name. */
export interface PinnedPrograms {
  get(name: string): number;
}

/** Opens pinned programs when they are asked for, and closes them at the end. */
export function withPrograms<T>(directory: PinDirectory, body: (programs: PinnedPrograms) => T): T {
  const open = new Map<string, number>();
  const get = (name: string) => {
    const fd = open.get(name) ?? openPin(directory.program(name));
    open.set(name, fd);
    return fd;
  };
  try {
    return body({ get });
  } finally {
    for (const fd of open.values()) closeSync(fd);
  }
}
