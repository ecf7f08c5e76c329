import { bitsOf, familyOf } from '../address/ip.ts';
import type { Prefix } from '../address/prefix.ts';
import { withDescriptor } from '../ebpf/bpf.ts';
import { MapIterator } from '../ebpf/iterator.ts';
import { openMap } from '../ebpf/map.ts';
import { openPin } from '../ebpf/pin.ts';
import { pinDirectory } from './directory.ts';
import { MAPS, type NatSource, type TunnelKey } from './layout.ts';
import type { MasqueradeException } from './masqueradePlan.ts';

/** Tells the programs what flows are translated to. */
export function writeNatSource(bpfDir: string, source: NatSource): void {
  const { key, value } = MAPS.tb_nat_source;
  const map = openMap(pinDirectory(bpfDir).map('tb_nat_source'), key, value);
  try {
    map.set(0, source);
  } finally {
    map.close();
  }
}

/**
 * Makes `tb_no_masquerade` say this and nothing else; what is new comes first.
 *
 * @throws {SystemError} If the map is full: what came before has been written.
 */
export function writeExceptions(bpfDir: string, exceptions: readonly MasqueradeException[]): void {
  const { key, value } = MAPS.tb_no_masquerade;
  const map = openMap(pinDirectory(bpfDir).map('tb_no_masquerade'), key, value);
  try {
    const gone = new Map([...map.entries()].map(([key, flags]) => [nameOf(key), { key, flags }]));
    for (const { prefix, flags } of exceptions) {
      const key = keyOf(prefix);
      const before = gone.get(nameOf(key));
      gone.delete(nameOf(key));
      if (before?.flags !== flags) map.set(key, flags);
    }
    for (const { key } of gone.values()) map.delete(key);
  } finally {
    map.close();
  }
}

/** What one run of `tb_nat_gc` found. Flows, not halves, but for `lonely`. */
export interface NatCounts {
  readonly flows: number;
  /** Removed, their time being over. */
  readonly expired: number;
  /** Halves without the other, removed. */
  readonly lonely: number;
}

/** Removes finished flows from `tb_nat`, in the kernel. */
export class NatCollector implements Disposable {
  readonly #iterator: MapIterator;
  #counts: NatCounts = { flows: 0, expired: 0, lonely: 0 };

  /** @throws {SystemError} `ENOENT` if nothing is loaded. */
  constructor(bpfDir: string) {
    const directory = pinDirectory(bpfDir);
    this.#iterator = withDescriptor(openPin(directory.map('tb_nat')), (map) =>
      withDescriptor(openPin(directory.program('tb_nat_gc')), (fd) => new MapIterator(fd, map)),
    );
  }

  /** Of the latest run. */
  get counts(): NatCounts {
    return this.#counts;
  }

  run(): NatCounts {
    const lines = this.#iterator.run().toString('latin1').trim().split('\n');
    const found = new Map(lines.map((line) => line.split(' ') as [string, string]));
    const count = (name: keyof NatCounts) => Number(found.get(name) ?? 0);
    this.#counts = { flows: count('flows'), expired: count('expired'), lonely: count('lonely') };
    return this.#counts;
  }

  [Symbol.dispose](): void {
    this.#iterator.close();
  }
}

/** IPv4 is looked up as ::ffff:a.b.c.d. */
function keyOf({ address, length }: Prefix): TunnelKey {
  return { length: 128 - bitsOf(familyOf(address)) + length, address };
}

function nameOf({ length, address }: TunnelKey): string {
  return `${typeof address === 'number' ? '' : ':'}${address}/${length}`;
}
