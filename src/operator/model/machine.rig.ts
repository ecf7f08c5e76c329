import assert from 'node:assert/strict';
import { formatIP, type IP } from '../../address/ip.ts';
import { contains, formatPrefix, type Prefix } from '../../address/prefix.ts';
import { emptiedSegments, routedSegments } from '../../agent/bgpNode.ts';
import { networkStatus, publishStatus } from '../../agent/nodeObjects.ts';
import { type RecoveryOptions, recover } from '../../agent/recovery.ts';
import { ownNetwork, segmentsOf } from '../../agent/segments.ts';
import type { AttachmentRecord } from '../../attach/record.ts';
import { type Owner, Refusal } from '../../ipam/allocator.ts';
import { Ipam } from '../../ipam/ipam.ts';
import { type Cut, MemoryDisk } from '../../ipam/memoryFiles.rig.ts';
import { silentLog } from '../../log.ts';
import { type Change, follow } from '../../store/follow.ts';
import type { NodeNetwork } from '../../store/kinds/nodeNetwork.ts';
import type { Store } from '../../store/store.ts';
import { type Fault, GatedStore } from './gatedStore.rig.ts';
import { drain, type VirtualClock } from './virtualClock.rig.ts';

/** So long an address rests, in milliseconds. */
const COOLDOWN_MS = 5_000;

const SELF = { ips: [], routing: 'underlay' } as const;

/** An agent's process: the real IPAM, and what it has heard of the store. */
interface Process {
  readonly ipam: Ipam;
  readonly stop: AbortController;
  readonly inbox: Change<NodeNetwork>[];
  network: NodeNetwork | undefined;
  /** Whether the segments are the store's; before, nothing is given out. */
  synced: boolean;
  dry: number;
  telling: boolean;
}

/** A machine with a disk, an agent that comes and goes, and a runtime that starts and ends containers. */
export class Machine {
  readonly name: string;
  readonly disk = new MemoryDisk();
  /** Addresses of containers whose ADD was answered, and that live. */
  readonly pods = new Map<string, readonly IP[]>();
  readonly #gate: GatedStore;
  readonly #store: Store;
  readonly #clock: VirtualClock;
  /** What the attachment records say: a container's addresses, and the boot during which it was attached. */
  readonly #records = new Map<string, { addresses: readonly IP[]; boot: number }>();
  /** Containers that are dead, and whose DEL has not been answered. */
  readonly #dead = new Set<string>();
  /** Containers whose ADD has not been answered. */
  readonly #asked = new Set<string>();
  #process: Process | undefined;
  #boot = 1;
  #containers = 0;

  constructor(name: string, store: Store, clock: VirtualClock) {
    this.name = name;
    this.#store = store;
    this.#gate = new GatedStore(store);
    this.#clock = clock;
  }

  get ipam(): Ipam | undefined {
    return this.#living?.ipam;
  }

  /** @param crashAfter So many writes of the start happen before the process dies. */
  async start(crashAfter = Number.POSITIVE_INFINITY): Promise<void> {
    if (this.#living) return;
    const files = this.disk.open();
    this.disk.crashAfter(crashAfter);
    try {
      const ipam = new Ipam({
        directory: '',
        cooldown: COOLDOWN_MS,
        boot: String(this.#boot),
        now: this.#clock.wall,
        log: silentLog,
        files,
      });
      await this.#finish(recover(this.#recovery(ipam)));
      if (!this.disk.alive) return;
      const stop = new AbortController();
      const inbox: Change<NodeNetwork>[] = [];
      void follow(this.#store, 'NodeNetwork', (change) => inbox.push(change), stop.signal, this.#clock.pause);
      this.#process = { ipam, stop, inbox, network: undefined, synced: false, dry: 0, telling: false };
    } catch (error) {
      assert.ok(!this.disk.alive, `the agent of ${this.name} does not start: ${error}`);
    }
    await drain();
  }

  kill(): void {
    this.#process?.stop.abort();
    this.#process = undefined;
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
    this.endAll();
  }

  /** Nothing of what ran is left, and nobody says so to the agent. */
  endAll(): void {
    for (const id of this.pods.keys()) this.#dead.add(id);
    this.pods.clear();
  }

  /** The agent learns of the next changes in the store. */
  async hear(changes: number): Promise<void> {
    const process = this.#living;
    for (const change of process?.inbox.splice(0, changes) ?? []) {
      if (!process || change.type === 'interrupted') continue;
      process.network = ownNetwork(process.network, change, this.name);
      const synced = () => {
        process.synced = true;
      };
      const assigned = process.ipam.assign(segmentsOf(process.network, []));
      await this.#finish(assigned.then(synced, () => {}));
    }
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

  landLate(): Promise<void> {
    return this.#gate.landLate();
  }

  /** As many pods at once; which of them are answered shows with the next thing that happens. */
  async add(count: number): Promise<void> {
    const process = this.#living;
    if (!process?.synced) return;
    const boot = this.#boot;
    for (let n = 0; n < count; n++) {
      const id = `${this.name}${++this.#containers}`;
      this.#asked.add(id);
      process.ipam.allocate({ owner: ownerOf(id), addresses: [] }).then(
        ({ addresses }) => {
          if (process !== this.#living || boot !== this.#boot) return;
          this.#asked.delete(id);
          this.pods.set(id, addresses);
          this.#records.set(id, { addresses, boot });
          process.dry = 0;
        },
        (error: unknown) => {
          this.#asked.delete(id);
          if (!(error instanceof Refusal)) this.#dead.add(id);
          else process.dry++;
        },
      );
    }
    await drain();
  }

  /** The oldest pods end. */
  async remove(count: number): Promise<void> {
    for (const id of [...this.pods.keys()].slice(0, count)) {
      this.pods.delete(id);
      this.#dead.add(id);
    }
    await this.bury();
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

  /** The disk carries out what it was given. */
  async settle(): Promise<void> {
    this.disk.finish();
    await drain();
    this.disk.finish();
    await drain();
  }

  /** Whether the agent's books add up. */
  check(): void {
    const { ipam } = this.#living ?? {};
    if (!ipam) return;
    const holders = new Map<IP, string>();
    for (const { owner, addresses } of ipam.allocations()) {
      for (const address of addresses) {
        assert.equal(holders.get(address), undefined, `${this.name} books ${formatIP(address)} twice`);
        holders.set(address, owner.containerID);
      }
    }
    for (const [id, addresses] of this.pods) {
      for (const address of addresses) assert.equal(holders.get(address), id, `${this.name} forgot ${id}`);
    }
    const usage = ipam.usage();
    const announced = routedSegments({ usage, held: [...holders.keys()] });
    for (const address of holders.keys()) {
      const covered = announced.some((prefix) => contains(prefix, address));
      assert.ok(covered, `${this.name} announces nothing that leads to ${formatIP(address)}`);
    }
    for (const { segment, capacity, used, resting } of usage) {
      const range = formatPrefix(segment.prefix);
      const held = [...holders.keys()].filter((address) => contains(segment.prefix, address)).length;
      assert.equal(used, held, `what ${range} says is used`);
      assert.ok(BigInt(used + resting) <= capacity, `${used} used and ${resting} resting of ${range}`);
    }
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

function requestsOf({ dry }: Process): { family: number; addresses: number }[] {
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
