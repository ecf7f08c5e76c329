import assert from 'node:assert/strict';
import { formatIP, type IP } from '../../address/ip.ts';
import { type Prefix, samePrefix } from '../../address/prefix.ts';
import { emptiedSegments } from '../../agent/bgpNode.ts';
import type { Passage } from '../../agent/blockRoutes.ts';
import { networkStatus, publishStatus } from '../../agent/nodeStatus.ts';
import { type RecoveryOptions, recover } from '../../agent/recovery.ts';
import { ownNetwork, segmentsOf } from '../../agent/segments.ts';
import type { AttachmentRecord } from '../../attach/record.ts';
import { type Allocation, type Owner, Refusal } from '../../ipam/allocator.ts';
import { Ipam } from '../../ipam/ipam.ts';
import { type Cut, MemoryDisk } from '../../ipam/memoryFiles.rig.ts';
import { silentLog } from '../../log.ts';
import { type Change, follow } from '../../store/follow.ts';
import type { NodeNetwork } from '../../store/kinds/nodeNetwork.ts';
import type { Store } from '../../store/store.ts';
import { expectBooks } from './books.rig.ts';
import { ClaimedPods, type NamedPod } from './claimedPods.rig.ts';
import { type Fault, GatedStore } from './gatedStore.rig.ts';
import { drain, type VirtualClock } from './virtualClock.rig.ts';

/** So long an address rests, in milliseconds. */
const COOLDOWN_MS = 5_000;

const SELF = { ips: [], routing: 'underlay' } as const;

/** An agent's process: the real IPAM, the real claims, and what it has heard of the store. */
interface Process {
  readonly ipam: Ipam;
  readonly stop: AbortController;
  readonly inbox: Change<NodeNetwork>[];
  readonly claimed: ClaimedPods;
  network: NodeNetwork | undefined;
  /** Segments have been heard of and not taken yet. */
  stale: boolean;
  assigning: boolean;
  /** Whether the segments are the store's; before, nothing is given out. */
  synced: boolean;
  dry: number;
  telling: boolean;
}

/** What a machine needs of the world around it. */
export interface Surroundings {
  readonly store: Store;
  readonly clock: VirtualClock;
  /** A name no container has had before. */
  readonly containerID: () => string;
  /** Told how each ADD that is answered came by its addresses. */
  readonly answered: (how: 'own' | 'own by claim' | 'borrowed by claim' | 'lent') => void;
}

/** A machine with a disk, an agent that comes and goes, and a runtime that starts and ends containers. */
export class Machine {
  readonly name: string;
  readonly disk = new MemoryDisk();
  /** Addresses of containers whose ADD was answered, and that live. */
  readonly pods = new Map<string, readonly IP[]>();
  /** The nodes that packets for addresses of this machine's blocks are let through to, as its kernel has it. */
  passages: readonly Passage[] = [];
  readonly #gate: GatedStore;
  readonly #surroundings: Surroundings;
  /** What agents that have died had sent. */
  #orphans: GatedStore[] = [];
  /** What the attachment records say: a container's addresses, and the boot during which it was attached. */
  readonly #records = new Map<string, { addresses: readonly IP[]; boot: number }>();
  /** Containers that are dead, and whose DEL has not been answered. */
  readonly #dead = new Set<string>();
  /** Containers whose ADD has not been answered. */
  readonly #asked = new Set<string>();
  /** The names of those that have one. */
  readonly #podOf = new Map<string, NamedPod>();
  #process: Process | undefined;
  #boot = 1;

  constructor(name: string, surroundings: Surroundings) {
    this.name = name;
    this.#surroundings = surroundings;
    this.#gate = new GatedStore(surroundings.store);
  }

  get ipam(): Ipam | undefined {
    return this.#living?.ipam;
  }

  get claimed(): ClaimedPods | undefined {
    return this.#living?.claimed;
  }

  /** @param crashAfter So many writes of the start happen before the process dies. */
  async start(crashAfter = Number.POSITIVE_INFINITY): Promise<void> {
    if (this.#living) return;
    const { store, clock } = this.#surroundings;
    const files = this.disk.open();
    this.disk.crashAfter(crashAfter);
    try {
      const ipam = new Ipam({
        directory: '',
        cooldown: COOLDOWN_MS,
        boot: String(this.#boot),
        now: clock.wall,
        log: silentLog,
        files,
      });
      await this.#finish(recover(this.#recovery(ipam)));
      if (!this.disk.alive) return;
      const stop = new AbortController();
      const inbox: Change<NodeNetwork>[] = [];
      void follow(store, 'NodeNetwork', (change) => inbox.push(change), stop.signal, clock.pause);
      const claimed = new ClaimedPods({
        node: this.name,
        ipam,
        store,
        clock,
        signal: stop.signal,
        isAlive: () => this.disk.alive && this.#process?.ipam === ipam,
        letThrough: (passages) => {
          this.passages = passages;
        },
      });
      const state = { stale: false, assigning: false, synced: false, dry: 0, telling: false };
      this.#process = { ipam, stop, inbox, claimed, network: undefined, ...state };
    } catch (error) {
      assert.ok(!this.disk.alive, `the agent of ${this.name} does not start: ${error}`);
    }
    await drain();
  }

  kill(): void {
    if (this.#process) {
      const { stop, claimed } = this.#process;
      stop.abort();
      claimed.gate.abandon();
      this.#orphans.push(claimed.gate);
      this.#process = undefined;
    }
    this.disk.kill();
    // The runtime gives up those that it got no answer for.
    for (const id of this.#asked) this.#dead.add(id);
    this.#asked.clear();
  }

  /** Power fails and comes back: no container is left. */
  reboot(cut: Cut): void {
    this.kill();
    this.disk.cutPower(cut);
    this.#boot++;
    this.passages = [];
    this.endAll();
  }

  /** Nothing of what ran is left, and nobody says so to the agent. */
  endAll(): void {
    for (const id of this.pods.keys()) this.#dead.add(id);
    this.pods.clear();
  }

  /**
   * The agent learns of the next changes in the store.
   *
   * @param answered Whether what it asks on that occasion is answered at once.
   */
  async hear(changes: number, answered = true): Promise<void> {
    const process = this.#living;
    for (const change of process?.inbox.splice(0, changes) ?? []) {
      if (!process || change.type === 'interrupted') continue;
      process.network = ownNetwork(process.network, change, this.name);
      process.stale = true;
      await this.#assign(process, answered);
    }
    if (process) await this.#assign(process, answered);
  }

  async #assign(process: Process, answered: boolean): Promise<void> {
    for (let turn = 0; turn < 100 && (process.stale || process.assigning); turn++) {
      if (!process.assigning) this.#takeSegments(process);
      await drain();
      if (!this.disk.alive) return;
      this.disk.finish();
      if (answered) await process.claimed.gate.pass(0, 'none');
      else if (process.claimed.gate.waiting > 0) return;
    }
  }

  #takeSegments(process: Process): void {
    const { ipam, claimed, network } = process;
    const segments = segmentsOf(network, []);
    const known = ipam.segments();
    const fresh = segments
      .map(({ prefix }) => prefix)
      .filter((prefix) => !known.some((segment) => samePrefix(segment.prefix, prefix)));
    Object.assign(process, { assigning: true, stale: false });
    claimed.addresses
      .prepare(fresh)
      .then(() => ipam.assign(segments))
      .then(
        () => Object.assign(process, { assigning: false, synced: true }),
        () => Object.assign(process, { assigning: false, stale: true }),
      );
  }

  /** The agent says what it has made of that. */
  async tell(fault: Fault): Promise<void> {
    const process = this.#living;
    if (!process) return;
    if (!process.telling) {
      process.telling = true;
      const status = () => {
        const usage = process.ipam.usage();
        const gone = emptiedSegments({ usage });
        const addresses = { usage, borrowed: process.ipam.borrowed() };
        const isGone = (segment: Prefix) => gone.includes(segment);
        return networkStatus(SELF, addresses, requestsOf(process), isGone);
      };
      publishStatus(this.#gate, this.name, status)
        .catch(() => {})
        .finally(() => {
          process.telling = false;
        });
    }
    await drain();
    await this.#gate.pass(0, 'none');
    while (this.#gate.waiting > 0) {
      await this.#gate.pass(0, fault);
      if (fault === 'slow') return;
    }
  }

  async landLate(): Promise<void> {
    const orphans = this.#orphans;
    this.#orphans = [];
    for (const gate of [this.#gate, ...orphans, ...(this.claimed ? [this.claimed.gate] : [])]) {
      await gate.landLate();
    }
  }

  /** As many pods at once; which of them are answered shows with the next thing that happens. */
  async add(count: number): Promise<void> {
    const process = this.#living;
    if (!process?.synced) return;
    for (let n = 0; n < count; n++) {
      const id = this.#surroundings.containerID();
      this.#await(process, id, process.ipam.allocate({ owner: ownerOf(id), addresses: [] }));
    }
    await drain();
  }

  /** A pod that may have another node's address, where this one has none. */
  async borrow(): Promise<void> {
    const process = this.#living;
    if (!process?.synced) return;
    const id = this.#surroundings.containerID();
    this.#await(process, id, process.claimed.draw(ownerOf(id)));
    await drain();
  }

  /** A pod that has a name, and an address that goes with it. */
  async schedule(pod: NamedPod): Promise<void> {
    const process = this.#living;
    if (!process?.synced) return;
    const id = this.#surroundings.containerID();
    this.#podOf.set(id, pod);
    this.#await(process, id, process.claimed.hold(pod, ownerOf(id)));
    await drain();
  }

  /** The agent hears of claims, and deals with them as far as its calls get. */
  async deal(changes: number, calls: number, fault: Fault = 'none', order = 0): Promise<void> {
    const { claimed } = this.#living ?? {};
    claimed?.hear(changes);
    await drain();
    await claimed?.pass(calls, fault, order, () => this.settle());
  }

  addressesOf(pod: string): IP[] {
    return [...this.pods].flatMap(([id, addresses]) =>
      this.#podOf.get(id)?.name === pod ? [...addresses] : [],
    );
  }

  /** The neighbours have heard what is announced from here. */
  announce(): void {
    this.#living?.claimed.announce();
  }

  /** Whether a container of the pod runs or is being made. */
  runs(pod: string): boolean {
    return [...this.#asked, ...this.pods.keys()].some((id) => this.#podOf.get(id)?.name === pod);
  }

  #await(process: Process, id: string, answer: Promise<Allocation>): void {
    const boot = this.#boot;
    this.#asked.add(id);
    answer.then(
      ({ addresses }) => {
        if (process !== this.#living || boot !== this.#boot) return;
        this.#asked.delete(id);
        const named = this.#podOf.has(id);
        const own = addresses.every((address) => process.ipam.owns(address));
        this.#surroundings.answered(
          named ? (own ? 'own by claim' : 'borrowed by claim') : own ? 'own' : 'lent',
        );
        this.pods.set(id, addresses);
        this.#records.set(id, { addresses, boot });
        process.dry = 0;
      },
      (error: unknown) => {
        if (process !== this.#living) return;
        this.#asked.delete(id);
        this.#dead.add(id);
        if (error instanceof Refusal && error.short) process.dry++;
      },
    );
  }

  /** The oldest pods end. */
  async remove(count: number): Promise<void> {
    for (const id of [...this.pods.keys()].slice(0, count)) {
      this.pods.delete(id);
      this.#dead.add(id);
    }
    await this.bury();
  }

  /** Containers end whose pods are somewhere else by now. */
  async endUnwanted(isWanted: (pod: NamedPod) => boolean): Promise<void> {
    for (const id of [...this.pods.keys()]) {
      const pod = this.#podOf.get(id);
      if (!pod || isWanted(pod)) continue;
      this.pods.delete(id);
      this.#dead.add(id);
    }
  }

  /** The runtime says of each dead container, until somebody answers. */
  async bury(): Promise<void> {
    const process = this.#living;
    if (!process) return;
    for (const id of this.#dead) {
      process.ipam.release(ownerOf(id)).then(
        () => {
          this.#records.delete(id);
          this.#dead.delete(id);
        },
        () => {},
      );
    }
    await drain();
  }

  /** Whether the agent's books add up. */
  check(): void {
    const { ipam } = this.#living ?? {};
    if (ipam) expectBooks({ name: this.name, ipam, pods: this.pods });
  }

  /** The disk carries out what it was given. */
  async settle(): Promise<void> {
    this.disk.finish();
    await drain();
    this.disk.finish();
    await drain();
  }

  /** An agent whose process has died in the midst of something is no agent. */
  get #living(): Process | undefined {
    if (this.#process && !this.disk.alive) this.kill();
    return this.#process;
  }

  async #finish(work: Promise<unknown>): Promise<void> {
    let done = false;
    const over = () => {
      done = true;
    };
    work.then(over, over);
    for (let turn = 0; !done && turn < 100; turn++) {
      await drain();
      if (!this.disk.alive) return;
      this.disk.finish();
    }
    if (done) await work;
  }

  #recovery(ipam: Ipam): RecoveryOptions {
    const records = [...this.#records].map(([id, { addresses, boot }]) => recordOf(id, addresses, boot));
    return {
      ipam,
      records: {
        list: () => ({ records, damaged: [] }),
        remove: (id) => void this.#records.delete(id),
      },
      released: { drain: async () => [] },
      boot: String(this.#boot),
      undo: async (all) => all.filter(({ bootId }) => bootId !== String(this.#boot)),
      log: silentLog,
    };
  }
}

function requestsOf({ dry }: Process): { family: 4; addresses: number }[] {
  return dry > 0 ? [{ family: 4, addresses: dry }] : [];
}

function ownerOf(containerID: string): Owner {
  return { containerID, ifName: 'eth0', network: 'pods' };
}

/** As much of a record as recovery looks at. */
function recordOf(id: string, addresses: readonly IP[], boot: number): AttachmentRecord {
  const spec = {
    id,
    containerId: id,
    ifName: 'eth0',
    network: 'pods',
    ipam: { kind: 'agent' },
    addresses: addresses.map((address) => ({ address: `${formatIP(address)}/32` })),
  };
  return { spec, bootId: String(boot) } as unknown as AttachmentRecord;
}
