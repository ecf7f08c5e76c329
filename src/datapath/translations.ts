import { withDescriptor } from '../ebpf/bpf.ts';
import { MapIterator } from '../ebpf/iterator.ts';
import { mapInfo } from '../ebpf/map.ts';
import { openPin } from '../ebpf/pin.ts';
import { pinDirectory } from './directory.ts';

/** What one run of `tb_nat_gc` found: translations at the node, not halves. */
export interface TranslationCounts {
  /** Pods that are hidden behind the node, or that outsiders talk to directly. */
  readonly hidden: number;
  /** Of clients outside with services. */
  readonly outside: number;
  /** Removed, their time being over. */
  readonly expired: number;
}

/** Removes finished translations from `tb_nat`, in the kernel. */
export class TranslationCollector implements Disposable {
  readonly #iterator: MapIterator;
  readonly #limit: number;
  #counts: TranslationCounts = { hidden: 0, outside: 0, expired: 0 };

  /** @throws {SystemError} `ENOENT` if nothing is loaded. */
  constructor(bpfDir: string) {
    const directory = pinDirectory(bpfDir);
    const map = openPin(directory.map('tb_nat'));
    this.#limit = mapInfo(map).maxEntries;
    this.#iterator = withDescriptor(map, () =>
      withDescriptor(openPin(directory.program('tb_nat_gc')), (program) => new MapIterator(program, map)),
    );
  }

  /** Of the latest run. */
  get counts(): TranslationCounts {
    return this.#counts;
  }

  /** Share of the table in use after the latest run, 0 to 1. */
  get fill(): number {
    return (2 * (this.#counts.hidden + this.#counts.outside)) / this.#limit;
  }

  run(): TranslationCounts {
    const text = this.#iterator.run().toString('latin1');
    const found = new Map(text.split('\n').map((line) => line.split(' ') as [string, string]));
    const count = (name: keyof TranslationCounts) => Number(found.get(name) ?? 0);
    this.#counts = { hidden: count('hidden'), outside: count('outside'), expired: count('expired') };
    return this.#counts;
  }

  [Symbol.dispose](): void {
    this.#iterator.close();
  }
}
