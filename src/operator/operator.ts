import { type Prefix, parsePrefix, samePrefix } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { EventRecorder } from '../store/events.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import { TOMBOLO_V1ALPHA1 } from '../store/kinds/kind.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import { isStoreError, type Store } from '../store/store.ts';
import { unlessChanged } from '../store/unlessChanged.ts';
import { listAll } from './listing.ts';
import { plan } from './planner.ts';
import { refusalText, withAcceptance } from './poolStatus.ts';
import { type PoolUse, poolUses } from './poolUse.ts';
import { guarded } from './protection.ts';
import { type Refusal, readWorld, type Shapes, writeSegment } from './reading.ts';
import { withShortage } from './shortageCondition.ts';
import type { Assignment, Idle, Shortage } from './world.ts';

export interface RoundReport {
  readonly written: number;
  readonly conflicted: number;
  readonly failed: number;
  readonly shortages: readonly Shortage[];
  readonly conflicts: readonly string[];
  readonly refusals: readonly Refusal[];
  /** How the pools were used when it began; computed when it is asked for. */
  readonly pools: () => readonly PoolUse[];
}

export interface OperatorParts {
  readonly store: Store;
  /** Wall time in milliseconds. */
  readonly now: () => number;
  readonly log: Log;
  readonly events?: Pick<EventRecorder, 'record'>;
  /** How long a block must be superfluous before it is asked back, in milliseconds. */
  readonly shrinkAfter?: number | undefined;
}

/** Several writes are on their way at once; more would only wait in the API server. */
const PARALLEL_WRITES = 8;

/**
 * The only writer of segments. A round lists everything, plans, and writes with compare-and-swap; the lists of the next
 * round begin when all its writes have been answered, which is what the claims of the plan rest on.
 */
export class Operator {
  readonly #store: Store;
  readonly #now: () => number;
  readonly #log: Log;
  #idle: Idle = new Map();
  /** Of writes whose answer got lost: taken until a list that was begun later has been read. */
  #uncertain: readonly Prefix[] = [];
  #said = new Set<string>();
  #shapes: Shapes = new Map();
  readonly #events: Pick<EventRecorder, 'record'> | undefined;
  readonly #shrinkAfter: number | undefined;

  constructor({ store, now, log, events, shrinkAfter }: OperatorParts) {
    this.#store = store;
    this.#now = now;
    this.#log = log;
    this.#events = events;
    this.#shrinkAfter = shrinkAfter;
  }

  /**
   * @param mayWrite Asked before each write: false once this process no longer leads.
   * @throws Whatever the store throws while listing; a plan is made of everything or not at all.
   */
  async round(mayWrite: () => boolean): Promise<RoundReport> {
    const uncertain = this.#uncertain;
    const listed = await listAll(this.#store);
    const { world, refusals, shapes } = readWorld(listed, this.#now(), this.#shapes);
    this.#shapes = shapes;
    const planned = plan(
      { ...world, uncertain, shrinkAfter: this.#shrinkAfter ?? world.shrinkAfter },
      this.#idle,
    );
    this.#idle = planned.idle;
    this.#uncertain = [];
    this.#say(refusals, planned.conflicts, planned.shortages);
    const networks = new Map(listed.networks.map((network) => [network.metadata.name, network]));
    const outcome = await this.#writeAll(planned.assignments, networks, mayWrite);
    const assigned = new Set(planned.assignments.map(({ node }) => node));
    const unchanged = listed.networks.filter(({ metadata }) => !assigned.has(metadata.name));
    await this.#protect(unchanged, mayWrite);
    await this.#tellShortages(unchanged, planned.shortages, mayWrite);
    await this.#tellPools(listed.pools, refusals, mayWrite);
    const { shortages, conflicts } = planned;
    const pools = () => poolUses({ ...world, uncertain }, listed.claims);
    return { ...outcome, shortages, conflicts, refusals, pools };
  }

  async #writeAll(
    assignments: readonly Assignment[],
    networks: ReadonlyMap<string, NodeNetwork>,
    mayWrite: () => boolean,
  ): Promise<Pick<RoundReport, 'written' | 'conflicted' | 'failed'>> {
    const counts = { written: 0, conflicted: 0, failed: 0 };
    const left = assignments.values();
    const worker = async () => {
      for (const assignment of left) {
        if (!mayWrite()) return;
        counts[await this.#write(assignment, networks.get(assignment.node))]++;
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_WRITES }, worker));
    return counts;
  }

  async #write(
    assignment: Assignment,
    before: NodeNetwork | undefined,
  ): Promise<'written' | 'conflicted' | 'failed'> {
    const { node, segments, reasons } = assignment;
    try {
      await this.#put(networkOf(assignment, before), before);
      for (const reason of reasons) {
        this.#log.info(reason, { node });
        this.#events?.record(
          { kind: 'Node', name: node },
          { type: 'Normal', reason: 'Segment', message: reason },
        );
      }
      return 'written';
    } catch (error) {
      if (isStoreError(error, 'Conflict', 'AlreadyExists', 'NotFound')) return 'conflicted';
      this.#uncertain = [...this.#uncertain, ...segments.map(({ cidr }) => cidr)];
      this.#log.warning('a write may or may not have happened; its ranges count as taken', {
        node,
        error: messageOf(error),
      });
      return 'failed';
    }
  }

  async #put(network: NodeNetwork, before: NodeNetwork | undefined): Promise<void> {
    if (before === undefined) await this.#store.create(network);
    else await this.#store.update(network);
  }

  /** What the operator assigns is protected with the same write; this is for what others have written. */
  async #protect(networks: readonly NodeNetwork[], mayWrite: () => boolean): Promise<void> {
    for (const network of networks) {
      const next = guarded(network);
      if (next === network || !mayWrite()) continue;
      try {
        await unlessChanged(this.#store.update(next));
      } catch (error) {
        this.#log.warning('segments cannot be protected', { node: network.metadata.name, error });
      }
    }
  }

  /** Where the agent reads it, and `tombolo get`: whoever wonders why a pod waits looks at its node first. */
  async #tellShortages(
    networks: readonly NodeNetwork[],
    shortages: readonly Shortage[],
    mayWrite: () => boolean,
  ): Promise<void> {
    for (const network of networks) {
      const told = withShortage(network, shortages, new Date(this.#now()).toISOString());
      if (told === undefined || !mayWrite()) continue;
      try {
        await this.#store.updateStatus(told);
      } catch (error) {
        // Somebody else has written, which brings the next round; what was not told then is told there.
        if (isStoreError(error, 'Conflict', 'NotFound')) continue;
        this.#log.warning('a shortage cannot be told', { node: network.metadata.name, error });
      }
    }
  }

  /** What is not taken as it is written says so itself, for as long as that lasts. */
  async #tellPools(
    pools: readonly IPPool[],
    refusals: readonly Refusal[],
    mayWrite: () => boolean,
  ): Promise<void> {
    for (const pool of pools) {
      const { name } = pool.metadata;
      const refusal = refusals.find((one) => one.pool === name);
      const now = new Date(this.#now()).toISOString();
      const told = withAcceptance(pool, this.#shapes.get(name), refusal, now);
      if (told === undefined || !mayWrite()) continue;
      try {
        await this.#store.updateStatus(told);
      } catch (error) {
        if (isStoreError(error, 'Conflict', 'NotFound')) continue;
        this.#log.warning('the status of a pool cannot be written', { pool: name, error });
      }
    }
  }

  #warn(line: string, kind: string, name: string, reason: string): void {
    if (this.#said.has(line)) return;
    this.#log.warning(line);
    this.#events?.record({ kind, name }, { type: 'Warning', reason, message: line });
  }

  /** Says each thing when it begins, and that it is over when it ends. */
  #say(refusals: readonly Refusal[], conflicts: readonly string[], shortages: readonly Shortage[]): void {
    const now = new Set<string>();
    const say = (line: string, kind: string, name: string, reason: string) => {
      this.#warn(line, kind, name, reason);
      now.add(line);
    };
    for (const refusal of refusals) {
      const line = `pool ${refusal.pool} is not taken as it is written: ${refusalText(refusal)}`;
      say(line, 'IPPool', refusal.pool, 'PoolChangeRefused');
    }
    for (const conflict of conflicts) {
      say(
        `held twice, and left alone: ${conflict}`,
        'Node',
        conflict.split(' of ').at(-1) ?? '',
        'SegmentConflict',
      );
    }
    for (const { node, pool, reason } of shortages) {
      const line = `node ${node} gets no further segment: ${reason}`;
      say(line, 'Node', node, 'SegmentShortage');
      if (pool !== undefined && !this.#said.has(line)) {
        this.#events?.record(
          { kind: 'IPPool', name: pool },
          { type: 'Warning', reason: 'PoolExhausted', message: reason },
        );
      }
    }
    for (const line of this.#said) if (!now.has(line)) this.#log.info(`over: ${line}`);
    this.#said = now;
  }
}

function networkOf({ node, segments }: Assignment, before: NodeNetwork | undefined): NodeNetwork {
  const known = before?.spec.segments ?? [];
  const written = segments.map((segment) =>
    writeSegment(
      segment,
      known.find(({ cidr }) => samePrefix(parsePrefix(cidr), segment.cidr)),
    ),
  );
  const empty = { apiVersion: TOMBOLO_V1ALPHA1, kind: 'NodeNetwork', metadata: { name: node }, spec: {} };
  const network = before ?? empty;
  return guarded({ ...network, spec: { ...network.spec, segments: written } });
}
