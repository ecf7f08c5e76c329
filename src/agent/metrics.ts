/** One family of the Prometheus text format. */
export interface Metric {
  /** Counters end in `_total`, times are in seconds. */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly value: number;
  readonly labels?: Labels;
  /** `_bucket`, `_sum`, `_count` of histograms. */
  readonly suffix?: string;
}

export type Labels = Readonly<Record<string, string | number>>;

/**
 * Prometheus' text exposition format.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function formatMetrics(metrics: Iterable<Metric>): string {
  return [...metrics].map(formatMetric).join('');
}

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

function formatMetric({ name, help, type, samples }: Metric): string {
  const lines = samples.map(
    ({ value, labels = {}, suffix = '' }) =>
      `${name}${suffix}${formatLabels(labels)} ${formatValue(value)}\n`,
  );
  return `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function formatLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${escaped(String(value)).replaceAll('"', '\\"')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

/** Counts by label values, each appearing with its first count. */
export class Counter {
  readonly #counts = new Map<string, { labels: Labels; value: number }>();

  add(labels: Labels, by = 1): void {
    const key = JSON.stringify(labels);
    const count = this.#counts.get(key);
    if (count) count.value += by;
    else this.#counts.set(key, { labels, value: by });
  }

  samples(): Sample[] {
    return [...this.#counts.values()].map(({ labels, value }) => ({ labels, value }));
  }
}

/** How often a value was at most so and so much, by one label. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #label: string;
  readonly #series = new Map<string, { counts: number[]; sum: number; count: number }>();

  /** @param bounds Upper bounds, rising; above the last one values count as infinite. */
  constructor(label: string, bounds: readonly number[]) {
    this.#label = label;
    this.#bounds = bounds;
  }

  observe(of: string, value: number): void {
    let series = this.#series.get(of);
    if (!series) {
      series = { counts: this.#bounds.map(() => 0), sum: 0, count: 0 };
      this.#series.set(of, series);
    }
    for (const [index, bound] of this.#bounds.entries()) {
      if (value <= bound) series.counts[index] = (series.counts[index] ?? 0) + 1;
    }
    series.sum += value;
    series.count++;
  }

  samples(): Sample[] {
    return [...this.#series].flatMap(([of, { counts, sum, count }]) => {
      const labels = { [this.#label]: of };
      return [
        ...this.#bounds.map((bound, index) => ({
          suffix: '_bucket',
          labels: { ...labels, le: formatValue(bound) },
          value: counts[index] ?? 0,
        })),
        { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: count },
        { suffix: '_sum', labels, value: sum },
        { suffix: '_count', labels, value: count },
      ];
    });
  }
}
