import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NeighbourStatus, SpeakerStatus } from '../bgp/speaker/status.ts';
import { bgpStatusTables } from './bgpStatusTable.ts';

const peer = (more: Partial<NeighbourStatus>) => more as NeighbourStatus;

test('neighbours are shown as calicoctl node status shows them', () => {
  const status = {
    neighbours: [
      peer({
        address: '172.17.8.102',
        kind: 'node-to-node mesh',
        state: 'Established',
        since: '2026-01-02T23:30:04.123Z',
      }),
      peer({
        address: '172.17.8.1',
        kind: 'global',
        state: 'Active',
        since: '2025-12-01T08:00:00.000Z',
        lastReset: { at: '2025-12-01T08:00:00.000Z', reason: 'received Cease/Administrative Shutdown' },
      }),
    ],
  } as unknown as SpeakerStatus;
  assert.equal(
    bgpStatusTables(status, new Date('2026-01-03T10:00:00Z')),
    `IPv4 BGP status
+--------------+-------------------+-------+------------+------------------------------------------------+
| PEER ADDRESS |     PEER TYPE     | STATE |   SINCE    |                      INFO                      |
+--------------+-------------------+-------+------------+------------------------------------------------+
| 172.17.8.102 | node-to-node mesh | up    | 23:30:04   | Established                                    |
| 172.17.8.1   | global            | down  | 2025-12-01 | Active: received Cease/Administrative Shutdown |
+--------------+-------------------+-------+------------+------------------------------------------------+

IPv6 BGP status
No IPv6 peers found.
`,
  );
});
