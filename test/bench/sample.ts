import { formatSpread, ratios, spreadOf } from './ratio.ts';

/** One measurement, and how much of it a second of CPU time is enough for. */
export interface Sample {
  readonly rate: number;
  readonly perCpuSecond: number;
}

/** By contender, one per round. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

/** The rate of a contender, and its ratios to another by rate and by CPU time. @param digits Of the rate. */
export function sampleCells(samples: Samples, name: string, base: string, digits = 0): string[] {
  const of = (who: string, what: keyof Sample) => (samples.get(who) ?? []).map((sample) => sample[what]);
  const ratio = (what: keyof Sample) =>
    name === base ? '1' : formatSpread(ratios(of(name, what), of(base, what)), 3);
  return [spreadOf(of(name, 'rate')).median.toFixed(digits), ratio('rate'), ratio('perCpuSecond')];
}
