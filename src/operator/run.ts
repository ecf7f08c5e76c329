import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { type Clock, systemClock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { EventRecorder } from '../store/events.ts';
import { follow } from '../store/follow.ts';
import type { Kind } from '../store/kinds/registry.ts';
import type { Store } from '../store/store.ts';
import { ClaimKeeper, type ClaimsReport } from './claims.ts';
import { Election } from './election.ts';
import { Operator, type RoundReport } from './operator.ts';

export interface OperatorOptions {
  readonly store: Store;
  readonly log: Log;
  /** How long a leader that falls silent stays one, in milliseconds. */
  readonly leaseDuration?: number;
  /** A round at least this often, in milliseconds: segments cool down and idle without anybody writing. */
  readonly interval?: number;
  readonly onRound?: (report: RoundReport, claims: ClaimsReport) => void;
  readonly clock?: Clock;
  /** How long a block must be superfluous before it is asked back, in milliseconds. */
  readonly shrinkAfter?: number | undefined;
}

const LEASE_DURATION = 15_000;
const INTERVAL = 5_000;
/** Changes that come together are planned together, in milliseconds; a node that ran dry waits no longer than this. */
const GATHERING = 50;

const FOLLOWED: readonly Kind[] = ['IPPool', 'IPAMConfiguration', 'Node', 'NodeNetwork'];

/** Runs until `signal` aborts: campaigns, and while it leads plans a round after every change. */
export async function runOperator(options: OperatorOptions, signal: AbortSignal): Promise<void> {
  const {
    store,
    log,
    leaseDuration = LEASE_DURATION,
    interval = INTERVAL,
    onRound,
    clock = systemClock,
    shrinkAfter,
  } = options;
  // Every follower and every pause listens to it.
  setMaxListeners(4 * FOLLOWED.length + 8, signal);
  const election = new Election({
    store,
    identity: `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`,
    duration: leaseDuration,
    monotonic: clock.monotonic,
    wallTime: () => new Date(clock.wall()),
  });
  const events = new EventRecorder({ store, component: 'tombolo-operator', now: clock.wall, log });
  const operator = new Operator({ store, now: clock.wall, log, events, shrinkAfter });
  const claims = new ClaimKeeper({
    store,
    clock,
    log: log.part('claims'),
    tell: ({ kind, metadata }, happening) => events.record({ kind, ...metadata }, happening),
  });
  const changed = new Alarm(clock);
  for (const kind of FOLLOWED) void follow(store, kind, () => changed.ring(), signal, clock.pause);
  const campaigning = campaign(election, leaseDuration / 3, changed, { log, clock }, signal);
  while (!signal.aborted) {
    await changed.wait(interval, signal);
    await clock.pause(GATHERING, signal);
    changed.clear();
    if (!election.leads || signal.aborted) continue;
    try {
      const mayWrite = () => election.leads && !signal.aborted;
      const report = await operator.round(mayWrite);
      // A claim on a block becomes a segment in the next round.
      if (report.written + report.conflicted > 0) changed.ring();
      await claims.round(mayWrite);
      onRound?.(report, claims.report);
    } catch (error) {
      log.error('a round of planning failed; it is tried again', { error: messageOf(error) });
    }
  }
  await Promise.all([events.settled(), campaigning]);
  await election.resign();
}

async function campaign(
  election: Election,
  every: number,
  won: Alarm,
  { log, clock }: { log: Log; clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  let led = false;
  while (!signal.aborted) {
    try {
      const leads = await election.campaign();
      if (leads !== led) log.info(leads ? 'this operator leads now' : 'another operator leads');
      if (leads && !led) won.ring();
      led = leads;
    } catch (error) {
      log.warning('the lease cannot be renewed', { error: messageOf(error) });
    }
    await clock.pause(every, signal);
  }
}

/** Something to wait for that may have happened already. */
class Alarm {
  readonly #clock: Clock;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  clear(): void {
    this.#rung = false;
  }

  /** Returns when it rings, after `ms`, or when the signal aborts. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#rung) return;
    const stopped = new AbortController();
    await Promise.race([
      new Promise<void>((resolve) => {
        this.#wake = resolve;
      }),
      this.#clock.pause(ms, AbortSignal.any([signal, stopped.signal])),
    ]);
    this.#wake = undefined;
    stopped.abort();
  }
}
