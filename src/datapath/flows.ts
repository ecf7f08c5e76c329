import { withDescriptor } from '../ebpf/bpf.ts';
import { MapIterator } from '../ebpf/iterator.ts';
import { type BpfMap, openMap } from '../ebpf/map.ts';
import { openPin } from '../ebpf/pin.ts';
import type { Log } from '../log.ts';
import { pinDirectory } from './directory.ts';
import { type Flow, type FlowKey, MAPS } from './layout.ts';

/** What one run of `tb_flow_gc` found. Flows, not halves, but for `lonely`. */
export interface FlowCounts {
  readonly new: number;
  readonly open: number;
  readonly closing: number;
  readonly reset: number;
  /** Those straight to a backend; counted by state as well. */
  readonly direct: number;
  /** Removed, their time being over. */
  readonly expired: number;
  /** Halves without the other, removed. */
  readonly lonely: number;
}

/** Milliseconds between runs: usually, and when the table is filling up. */
const INTERVAL = { idle: 10_000, pressed: 1_000 };
/** Share of the table in use from which it counts as filling up. */
const PRESSURE = 0.75;

/** Removes finished flows, and fragments whose first one never came, in the kernel, again and again. */
export class FlowCollector implements Disposable {
  readonly #flows: BpfMap<FlowKey, Flow>;
  readonly #iterator: MapIterator;
  readonly #fragments: MapIterator;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #counts: FlowCounts = parseCounts('');

  /** @throws {SystemError} `ENOENT` if nothing is loaded. */
  constructor(bpfDir: string, log: Log) {
    const directory = pinDirectory(bpfDir);
    this.#log = log;
    this.#flows = openMap(directory.map('tb_flows'), MAPS.tb_flows.key, MAPS.tb_flows.value);
    this.#iterator = iterator(directory.program('tb_flow_gc'), this.#flows.fd);
    const held = openPin(directory.map('tb_held'));
    this.#fragments = withDescriptor(held, () => iterator(directory.program('tb_held_gc'), held));
  }

  /** Of the latest run. */
  get counts(): FlowCounts {
    return this.#counts;
  }

  /** Share of the table in use after the latest run, 0 to 1. */
  get fill(): number {
    const { new: fresh, open, closing, reset } = this.#counts;
    return (2 * (fresh + open + closing + reset)) / this.#flows.info.maxEntries;
  }

  run(): FlowCounts {
    this.#fragments.run();
    this.#counts = parseCounts(this.#iterator.run().toString('latin1'));
    return this.#counts;
  }

  /** Runs until closed, more often when the table fills up. */
  start(): void {
    this.#timer = setTimeout(
      () => {
        try {
          this.run();
          if (this.fill > PRESSURE) this.#log.warning('the flow table fills up', { fill: this.fill });
        } catch (error) {
          this.#log.error('flows were not collected', { error });
        }
        this.start();
      },
      this.fill > PRESSURE ? INTERVAL.pressed : INTERVAL.idle,
    );
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#iterator.close();
    this.#fragments.close();
    this.#flows.close();
  }
}

function iterator(program: string, map: number): MapIterator {
  return withDescriptor(openPin(program), (fd) => new MapIterator(fd, map));
}

/** Lines of a name and a number; a name that is missing is 0. */
export function parseCounts(text: string): FlowCounts {
  const found = new Map(text.split('\n').map((line) => line.split(' ') as [string, string]));
  const count = (name: keyof FlowCounts) => Number(found.get(name) ?? 0);
  return {
    new: count('new'),
    open: count('open'),
    closing: count('closing'),
    reset: count('reset'),
    direct: count('direct'),
    expired: count('expired'),
    lonely: count('lonely'),
  };
}

/** One half of a flow, as `tb_flows` has it. */
export interface FlowHalf {
  readonly key: FlowKey;
  readonly flow: Flow;
}

/** The forward halves of all flows: what a person calls the flows. */
export function* listFlows(bpfDir: string): Generator<FlowHalf> {
  const map = openMap(pinDirectory(bpfDir).map('tb_flows'), MAPS.tb_flows.key, MAPS.tb_flows.value);
  try {
    for (const [key, flow] of map.entries()) if (key.direction === 'forward') yield { key, flow };
  } finally {
    map.close();
  }
}
