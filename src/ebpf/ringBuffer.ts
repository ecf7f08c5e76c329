import type * as Koffi from 'koffi';
import { koffi } from '../ffi/koffi.ts';
import { libc } from '../ffi/libc.ts';
import { SystemError } from '../ffi/systemError.ts';
import { mapInfo } from './map.ts';

const PAGE = 4096;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;

/** Bits of the length word before each record (linux/bpf.h). */
const BUSY = 0x8000_0000;
const DISCARDED = 0x4000_0000;
const HEADER = 8;

type Mmap = (
  at: null,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => bigint;
type Munmap = (address: bigint, length: number) => number;

/**
 * The reading end of a BPF_MAP_TYPE_RINGBUF (Linux 5.8), mapped into memory. There may be only one reader.
 *
 * The kernel maps the data twice in a row, so a record that wraps round is still in one piece. The positions
 * are shared with producers on other CPUs: they are read and written as atomics, 64 bits wide, and grow for ever.
 */
export class RingBuffer {
  readonly #size: number;
  readonly #consumer: BigUint64Array;
  readonly #producer: BigUint64Array;
  readonly #words: Int32Array;
  readonly #data: Uint8Array;
  readonly #mappings: readonly { readonly address: bigint; readonly length: number }[];
  readonly #poll: Koffi.node.PollHandle;

  /**
   * @param fd Of the map; must stay open as long as the reader.
   * @param record Called for each record. The bytes are the kernel's memory and change after the call.
   */
  constructor(fd: number, record: (bytes: Uint8Array) => void) {
    this.#size = mapInfo(fd).maxEntries;
    const consumer = map(fd, PAGE, PROT_READ | PROT_WRITE, 0);
    const producer = map(fd, PAGE + 2 * this.#size, PROT_READ, PAGE);
    this.#mappings = [consumer, producer];
    const produced = koffi().view(producer.address, producer.length);
    this.#consumer = new BigUint64Array(koffi().view(consumer.address, PAGE), 0, 1);
    this.#producer = new BigUint64Array(produced, 0, 1);
    this.#words = new Int32Array(produced, PAGE);
    this.#data = new Uint8Array(produced, PAGE);
    this.#poll = koffi().node.poll(fd, { readable: true }, () => this.drain(record));
    this.drain(record);
  }

  /** Hands over every finished record; returns how many. Called by itself when some arrive. */
  drain(record: (bytes: Uint8Array) => void): number {
    let records = 0;
    let at = Atomics.load(this.#consumer, 0);
    while (at < Atomics.load(this.#producer, 0)) {
      const offset = Number(at % BigInt(this.#size));
      const word = Atomics.load(this.#words, offset / 4) >>> 0;
      if (word & BUSY) break;
      const length = word & ~(BUSY | DISCARDED);
      if (!(word & DISCARDED)) {
        record(this.#data.subarray(offset + HEADER, offset + HEADER + length));
        records++;
      }
      at += BigInt(HEADER + Math.ceil(length / 8) * 8);
      Atomics.store(this.#consumer, 0, at);
    }
    return records;
  }

  close(): void {
    this.#poll.close();
    const munmap = libc<Munmap>('int munmap(void *, size_t)');
    for (const { address, length } of this.#mappings) munmap(address, length);
  }
}

function map(fd: number, length: number, protection: number, offset: number) {
  const mmap = libc<Mmap>('void *mmap(void *, size_t, int, int, int, long)');
  const address = mmap(null, length, protection, MAP_SHARED, fd, offset);
  if (BigInt.asIntN(64, BigInt(address ?? 0)) === -1n)
    throw new SystemError('map a ring buffer', koffi().errno());
  return { address, length };
}
