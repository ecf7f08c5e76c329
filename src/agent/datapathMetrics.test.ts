import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neighbourMetrics } from './datapathMetrics.ts';
import { formatMetrics } from './metrics.ts';

test('the neighbour tables are told with their limit, where the kernel shows it', () => {
  const text = formatMetrics(
    neighbourMetrics([
      { family: 4, entries: 900, limit: 1024, overflows: 7 },
      { family: 6, entries: 12, limit: undefined, overflows: 0 },
    ]),
  );
  assert.deepEqual(
    text.split('\n').filter((line) => line !== '' && !line.startsWith('#')),
    [
      'tombolo_neighbour_entries{family="ipv4"} 900',
      'tombolo_neighbour_entries{family="ipv6"} 12',
      'tombolo_neighbour_max_entries{family="ipv4"} 1024',
      'tombolo_neighbour_overflows_total{family="ipv4"} 7',
      'tombolo_neighbour_overflows_total{family="ipv6"} 0',
    ],
  );
});
