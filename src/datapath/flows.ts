import { formatIP, type IP } from '../address/ip.ts';
import { withDescriptor } from '../ebpf/bpf.ts';
import { MapIterator } from '../ebpf/iterator.ts';
import { type BpfMap, openMap } from '../ebpf/map.ts';
import { openPin } from '../ebpf/pin.ts';
import type { Log } from '../log.ts';
import { pinDirectory } from './directory.ts';
import { MAPS } from './layout.ts';
import type { ClientFlows } from './maps/clients.ts';
import type { Flow, FlowKey } from './maps/flows.ts';
import { readReasons } from './metrics.ts';
import { TranslationCollector, type TranslationCounts } from './translations.ts';

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

/** Milliseconds between runs: usually, and when the table is filling up or a client has its share. */
const INTERVAL = { idle: 10_000, pressed: 1_000 };
/** Share of the table in use from which it counts as filling up. */
const PRESSURE = 0.75;
/** What one client may have of the table: a pod that fills it would take the services from all others. */
const SHARE = 0.5;
/** New flows after which the collector does not wait for its time, as a share of the table. */
const PROMPT = 0.25;

/** Removes finished flows, and fragments whose first one never came, in the kernel, again and again. */
export class FlowCollector implements Disposable {
  readonly #flows: BpfMap<FlowKey, Flow>;
  readonly #clients: BpfMap<IP, ClientFlows>;
  readonly #bpfDir: string;
  readonly #iterator: MapIterator;
  readonly #fragments: MapIterator;
  readonly #translations: TranslationCollector;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #counts: FlowCounts = parseCounts('');
  #byClient: ReadonlyMap<IP, number> = new Map();
  #full: readonly IP[] = [];
  #entered = 0n;
  #lastRun = 0;

  /** @throws {SystemError} `ENOENT` if nothing is loaded. */
  constructor(bpfDir: string, log: Log) {
    const directory = pinDirectory(bpfDir);
    this.#log = log;
    this.#bpfDir = bpfDir;
    this.#clients = openMap(directory.map('tb_clients'), MAPS.tb_clients.key, MAPS.tb_clients.value);
    this.#flows = openMap(directory.map('tb_flows'), MAPS.tb_flows.key, MAPS.tb_flows.value);
    this.#iterator = iterator(directory.program('tb_flow_gc'), this.#flows.fd);
    const held = openPin(directory.map('tb_held'));
    this.#fragments = withDescriptor(held, () => iterator(directory.program('tb_held_gc'), held));
    this.#translations = new TranslationCollector(bpfDir);
  }

  /** Of the latest run. */
  get counts(): FlowCounts {
    return this.#counts;
  }

  /** Of the latest run. */
  get translations(): TranslationCounts {
    return this.#translations.counts;
  }

  /** Share of the table in use after the latest run, 0 to 1. */
  get fill(): number {
    const { new: fresh, open, closing, reset } = this.#counts;
    return (2 * (fresh + open + closing + reset)) / this.#flows.info.maxEntries;
  }

  /** Flows of each client, of the latest run. */
  get byClient(): ReadonlyMap<IP, number> {
    return this.#byClient;
  }

  /** Clients that have their share of the table, as of the latest run. */
  get full(): readonly IP[] {
    return this.#full;
  }

  run(): FlowCounts {
    this.#entered = flowsEntered(this.#bpfDir);
    this.#lastRun = performance.now();
    this.#fragments.run();
    this.#translations.run();
    for (const [client, { full }] of [...this.#clients.entries()])
      this.#clients.set(client, { flows: 0, full });
    this.#counts = parseCounts(this.#iterator.run().toString('latin1'));
    this.#share();
    return this.#counts;
  }

  #share(): void {
    const share = (this.#flows.info.maxEntries / 2) * SHARE;
    const clients = [...this.#clients.entries()];
    for (const [client, { flows, full }] of clients) {
      const isFull = flows >= share;
      if (flows === 0) this.#clients.delete(client);
      else if (isFull !== (full === 1)) this.#clients.set(client, { flows, full: isFull ? 1 : 0 });
    }
    this.#byClient = new Map(
      clients.filter(([, { flows }]) => flows > 0).map(([client, { flows }]) => [client, flows]),
    );
    this.#full = [...this.#byClient].filter(([, flows]) => flows >= share).map(([client]) => client);
  }

  /** Runs until closed, more often when the table fills up. */
  start(): void {
    this.#timer = setInterval(() => {
      try {
        if (!this.#isDue()) return;
        this.run();
        if (this.fill > PRESSURE) this.#log.warning('the flow table fills up', { fill: this.fill });
        const { fill } = this.#translations;
        if (fill > PRESSURE) this.#log.warning('the table of translations fills up', { fill });
        for (const client of this.#full) {
          const flows = this.#byClient.get(client);
          this.#log.warning('a client has its share of the flow table', { client: formatIP(client), flows });
        }
      } catch (error) {
        this.#log.error('flows were not collected', { error });
      }
    }, INTERVAL.pressed);
    this.#timer.unref();
  }

  #isDue(): boolean {
    if (Math.max(this.fill, this.#translations.fill) > PRESSURE || this.#full.length > 0) return true;
    if (performance.now() - this.#lastRun >= INTERVAL.idle) return true;
    const entered = Number(flowsEntered(this.#bpfDir) - this.#entered);
    return 2 * entered > this.#flows.info.maxEntries * PROMPT;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#iterator.close();
    this.#fragments.close();
    this.#translations[Symbol.dispose]();
    this.#clients.close();
    this.#flows.close();
  }
}

/** How many flows were ever entered. */
function flowsEntered(bpfDir: string): bigint {
  return readReasons(bpfDir)
    .filter(({ reason }) => reason === 'flow_created' || reason === 'flow_direct')
    .reduce((sum, { count }) => sum + count, 0n);
}

function iterator(program: string, map: number): MapIterator {
  return withDescriptor(openPin(program), (fd) => new MapIterator(fd, map));
}

/** Lines of a name and a number; a name that is missing is 0. */
function parseCounts(text: string): FlowCounts {
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
