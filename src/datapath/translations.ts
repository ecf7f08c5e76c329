import { Collector } from './collector.ts';

/** What one run found: flows, not halves of them. */
export interface TranslationCounts {
  /** Pods that are hidden behind the node, or that outsiders talk to directly. */
  readonly hidden: number;
  /** Of clients outside with services. */
  readonly outside: number;
  /** Likewise, with backends whose nodes have the translation. */
  readonly handedOver: number;
  /** Removed, their time being over. */
  readonly expired: number;
}

/** Removes what is over from `tb_nat` and `tb_handovers`, in the kernel. */
export class TranslationCollector implements Disposable {
  readonly #translations: Collector;
  readonly #handovers: Collector;
  #counts: TranslationCounts = { hidden: 0, outside: 0, handedOver: 0, expired: 0 };

  /** @throws {SystemError} `ENOENT` if nothing is loaded. */
  constructor(bpfDir: string) {
    this.#translations = new Collector(bpfDir, 'tb_nat', 'tb_nat_gc');
    this.#handovers = new Collector(bpfDir, 'tb_handovers', 'tb_handover_gc');
  }

  /** Of the latest run. */
  get counts(): TranslationCounts {
    return this.#counts;
  }

  /** Share of the fuller table in use after the latest run, 0 to 1. */
  get fill(): number {
    const { hidden, outside, handedOver } = this.#counts;
    return Math.max((2 * (hidden + outside)) / this.#translations.limit, handedOver / this.#handovers.limit);
  }

  run(): TranslationCounts {
    const translations = this.#translations.run();
    const handovers = this.#handovers.run();
    this.#counts = {
      hidden: translations.get('hidden') ?? 0,
      outside: translations.get('outside') ?? 0,
      handedOver: handovers.get('open') ?? 0,
      expired: (translations.get('expired') ?? 0) + (handovers.get('expired') ?? 0),
    };
    return this.#counts;
  }

  [Symbol.dispose](): void {
    this.#translations[Symbol.dispose]();
    this.#handovers[Symbol.dispose]();
  }
}
