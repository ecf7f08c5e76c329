/** Measurements on a shared machine mean something only beside each other, in turns, as ratios. */
import type { Machine } from './machine.ts';

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface Contender<T> {
  readonly name: string;
  /** One measurement; its unit is the report's. */
  run(): T | Promise<T>;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  const lower = sorted[sorted.length % 2 === 1 ? middle : middle - 1] ?? Number.NaN;
  return { min: sorted[0] ?? Number.NaN, median: (lower + upper) / 2, max: sorted.at(-1) ?? Number.NaN };
}

/**
 * Measures every contender once per round, in an order that alternates, after one round that does not count.
 *
 * @returns Per contender its measurements, one per round: index i of each was taken within the same round.
 */
export async function inTurns<T>(
  contenders: readonly Contender<T>[],
  rounds: number,
  machine: Machine,
): Promise<Map<string, T[]>> {
  const results = new Map(contenders.map(({ name }) => [name, [] as T[]]));
  for (let round = -1; round < rounds; round++) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const { name, run } of order) {
      const value = await machine.turn(run);
      if (round >= 0) results.get(name)?.push(value);
    }
  }
  return results;
}

/** Round by round, `values / base`. */
export function ratios(values: readonly number[], base: readonly number[]): Spread {
  return spreadOf(values.map((value, round) => value / (base[round] ?? Number.NaN)));
}

export function formatSpread({ min, median, max }: Spread, digits = 2): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}
