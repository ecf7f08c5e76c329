import { closeSync, readSync } from 'node:fs';
import { hasCode } from '../ffi/systemError.ts';
import { Attr, bpf, withDescriptor } from './bpf.ts';
import { ATTACH_TYPES } from './link.ts';

/**
 * An `iter/bpf_map_elem` program tied to one map (Linux 5.9): each run calls it for every entry, in the
 * kernel, without an entry being copied out.
 */
export class MapIterator {
  readonly #link: number;

  /** @param program,map Descriptors; both may be closed afterwards. */
  constructor(program: number, map: number) {
    const target = Buffer.alloc(8);
    target.writeUInt32LE(map);
    const attr = new Attr(48)
      .u32(0, program)
      .u32(8, ATTACH_TYPES.trace_iter)
      .pointer(16, target)
      .u32(24, target.length);
    this.#link = bpf('LINK_CREATE', attr, 'tie an iterator to its map');
  }

  /** Runs over all entries; returns what the program wrote to its `seq` file. */
  run(): Buffer {
    const chunks: Buffer[] = [];
    const create = new Attr(8).u32(0, this.#link);
    return withDescriptor(bpf('ITER_CREATE', create, 'start an iterator'), (fd) => {
      for (;;) {
        const chunk = readChunk(fd);
        // The kernel asks to be called again when it stops after a million entries of no output.
        if (chunk === 'again') continue;
        if (chunk.length === 0) return Buffer.concat(chunks);
        chunks.push(chunk);
      }
    });
  }

  close(): void {
    closeSync(this.#link);
  }
}

function readChunk(fd: number): Buffer | 'again' {
  const chunk = Buffer.alloc(65536);
  try {
    return chunk.subarray(0, readSync(fd, chunk, 0, chunk.length, null));
  } catch (error) {
    if (hasCode(error, 'EAGAIN', 'EINTR')) return 'again';
    throw error;
  }
}
