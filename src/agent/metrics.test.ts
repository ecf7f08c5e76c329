import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter, formatMetrics, Histogram } from './metrics.ts';

test('the text format is exact, escapes included', () => {
  const counter = new Counter();
  counter.add({ verb: 'ADD', code: 0 });
  counter.add({ verb: 'ADD', code: 0 });
  counter.add({ verb: 'a"b\\c\nd' }, 3);
  const text = formatMetrics([
    { name: 'calls_total', help: 'Calls,\nserved.', type: 'counter', samples: counter.samples() },
    { name: 'up', help: 'Up.', type: 'gauge', samples: [{ value: 1 }] },
  ]);
  assert.equal(
    text,
    [
      '# HELP calls_total Calls,\\nserved.',
      '# TYPE calls_total counter',
      'calls_total{verb="ADD",code="0"} 2',
      'calls_total{verb="a\\"b\\\\c\\nd"} 3',
      '# HELP up Up.',
      '# TYPE up gauge',
      'up 1',
      '',
    ].join('\n'),
  );
});

test('a histogram is cumulative and ends in infinity', () => {
  const histogram = new Histogram('verb', [0.001, 0.01]);
  for (const value of [0.0005, 0.001, 0.005, 2]) histogram.observe('ADD', value);
  const lines = formatMetrics([{ name: 't', help: 'T.', type: 'histogram', samples: histogram.samples() }]);
  assert.deepEqual(lines.trim().split('\n').slice(2), [
    't_bucket{verb="ADD",le="0.001"} 2',
    't_bucket{verb="ADD",le="0.01"} 3',
    't_bucket{verb="ADD",le="+Inf"} 4',
    't_sum{verb="ADD"} 2.0065',
    't_count{verb="ADD"} 4',
  ]);
});
