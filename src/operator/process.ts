import { apiHandler } from '../agent/api.ts';
import type { Metric } from '../agent/metrics.ts';
import { drained, listenOnAddress } from '../agent/socket.ts';
import { createLog, type LogLevel } from '../log.ts';
import type { AddressAndPort } from '../store/kinds/bgpValues.ts';
import { openStore } from '../store/open.ts';
import { commit, version } from '../version.ts';
import type { ClaimsReport } from './claims.ts';
import type { RoundReport } from './operator.ts';
import type { PoolUse } from './poolUse.ts';
import { runOperator } from './run.ts';

export interface OperatorProcessOptions {
  /** `directory:PATH` or `kubernetes[:KUBECONFIG]`. */
  readonly store: string;
  /** How long a leader that falls silent stays one, in milliseconds. */
  readonly leaseDuration: number;
  /** How long a block must be superfluous before it is asked back, in milliseconds. */
  readonly shrinkAfter: number;
  /** Where Prometheus may ask; nowhere where absent. */
  readonly metricsAddress: AddressAndPort | undefined;
  readonly logLevel: LogLevel;
}

/**
 * Runs an operator until SIGTERM or SIGINT, then lets go of the lease, so that the next one leads at once.
 *
 * @throws {Error} If the store cannot be opened, or the address for metrics is not to be had.
 */
export async function runOperatorProcess(options: OperatorProcessOptions): Promise<void> {
  const log = createLog((line) => process.stderr.write(line), options.logLevel, 'operator');
  const report = (problem: string) => log.part('store').error('file refused', { problem });
  const store = await openStore(options.store, { create: true, report });
  const rounds = new Rounds();
  const told = new AbortController();
  // The second signal ends the process at once, as if nobody had listened.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => told.abort());
  try {
    const server =
      options.metricsAddress &&
      (await listenOnAddress(
        options.metricsAddress,
        apiHandler({}, () => rounds.metrics()),
        log,
      ));
    log.info('ready', { store: store.location, version, commit });
    const { leaseDuration, shrinkAfter } = options;
    const onRound = (round: RoundReport, claims: ClaimsReport) => rounds.add(round, claims);
    await runOperator({ store, log, leaseDuration, shrinkAfter, onRound }, told.signal);
    if (server) await drained(server);
    log.info('stopped');
  } finally {
    await store.close();
  }
}

/** What the rounds have come to, for Prometheus. */
class Rounds {
  #latest: RoundReport | undefined;
  #claims: ClaimsReport = { claims: 0, held: 0, ended: 0 };
  readonly #totals = { rounds: 0, written: 0, conflicted: 0, failed: 0 };

  add(round: RoundReport, claims: ClaimsReport): void {
    this.#latest = round;
    this.#claims = claims;
    this.#totals.rounds++;
    for (const outcome of ['written', 'conflicted', 'failed'] as const) {
      this.#totals[outcome] += round[outcome];
    }
  }

  metrics(): Metric[] {
    const { rounds, ...writes } = this.#totals;
    const gauge = (name: string, help: string, value: number): Metric => ({
      name: `tombolo_operator_${name}`,
      help,
      type: 'gauge',
      samples: [{ value }],
    });
    return [
      {
        name: 'tombolo_operator_rounds_total',
        help: 'Rounds of planning; only a leader plans.',
        type: 'counter',
        samples: [{ value: rounds }],
      },
      {
        name: 'tombolo_operator_writes_total',
        help: 'Writes of segments, by outcome.',
        type: 'counter',
        samples: Object.entries(writes).map(([outcome, value]) => ({ labels: { outcome }, value })),
      },
      gauge(
        'short_nodes',
        'Nodes that need a segment and cannot have one.',
        new Set(this.#latest?.shortages.map(({ node }) => node)).size,
      ),
      gauge('refused_pools', 'Pools that are left out.', this.#latest?.refusals.length ?? 0),
      gauge('ranges_held_twice', 'Ranges that two nodes hold.', this.#latest?.conflicts.length ?? 0),
      gauge('claims', 'Fixed addresses: claims there are.', this.#claims.claims),
      gauge('claims_held', 'Of these, how many a pod holds.', this.#claims.held),
      {
        name: 'tombolo_operator_claims_ended_total',
        help: 'Claims that nobody was coming back for.',
        type: 'counter',
        samples: [{ value: this.#claims.ended }],
      },
      ...poolMetrics(this.#latest?.pools() ?? []),
    ];
  }
}

function poolMetrics(pools: readonly PoolUse[]): Metric[] {
  const blocks = pools.flatMap(({ pool, held, cooling, free }) => [
    { labels: { pool, state: 'held' }, value: held },
    { labels: { pool, state: 'cooling' }, value: cooling },
    { labels: { pool, state: 'free' }, value: Number(free) },
  ]);
  const addresses = pools.flatMap(({ pool, used, reserved, capacity }) => [
    { labels: { pool, state: 'used' }, value: used },
    { labels: { pool, state: 'reserved' }, value: Number(reserved) },
    { labels: { pool, state: 'capacity' }, value: Number(capacity) },
  ]);
  return [
    {
      name: 'tombolo_pool_blocks',
      help: 'Blocks of a pool; those that cool down are held, too.',
      type: 'gauge',
      samples: blocks,
    },
    {
      name: 'tombolo_pool_addresses',
      help: "Addresses of a pool: of nodes' blocks, and those that it reserves.",
      type: 'gauge',
      samples: addresses,
    },
  ];
}
