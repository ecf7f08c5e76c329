import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type Seen, type Setting, TupleSoak, WAYS_OF_CLOSING } from './tupleSoak.ts';

/** Of each setting; to hunt with, some hundred. */
const SECONDS = Number(process.env.TOMBOLO_SOAK_SECONDS ?? 4);
const WORKERS = 6;
/** So few that each is used again within a second, by another way. */
const PORTS = [40_000, 40_199] as const;
const COLLECT_MS = 500;
/** What a client may see that nobody is to blame for. */
const HARMLESS = new Set(['answers', 'abandoned', 'no port', 'strays']);
/** A busy machine, or the kernel itself: its own closed connections answer one in some thousand SYNs wrongly, programs or none. */
const LATE_IN_THOUSAND = 2;

const settings: readonly (Setting & { readonly what: string })[] = [
  { what: 'veth, packets', attachment: 'veth', programs: 'packet', ports: PORTS, timeWait: true },
  {
    what: 'veth, packets, nothing remembered by the ends',
    attachment: 'veth',
    programs: 'packet',
    ports: PORTS,
    timeWait: false,
  },
  { what: 'NIC, packets and sockets', attachment: 'nic', programs: 'both', ports: PORTS, timeWait: true },
  { what: 'veth, packets and sockets', attachment: 'veth', programs: 'both', ports: PORTS, timeWait: false },
];

describe('clients that use the same ports for services, their backends and themselves', () => {
  for (const { what, ...setting } of settings) {
    test(`get each answer from whom they have asked (${what})`, async (t) => {
      const soak = new TupleSoak(setting);
      try {
        await soak.raise();
        const wishes = {
          seconds: SECONDS,
          workers: WORKERS,
          targets: soak.targets(),
          ways: WAYS_OF_CLOSING,
        };
        const asking = [soak.ask(wishes)];
        if (setting.programs === 'both') asking.push(soak.ask({ ...wishes, first: WORKERS }, 'socket'));
        const seen = Promise.all(asking);
        let done = false;
        void seen.finally(() => {
          done = true;
        });
        while (!done) {
          soak.datapath?.collect('tb_flow_gc', 'tb_flows');
          await setTimeout(COLLECT_MS);
        }
        for (const each of await seen) {
          t.diagnostic(JSON.stringify(each.seen));
          check(each);
        }
        const { source_port_changed: changed = 0, ...metrics } = soak.datapath?.metrics() ?? {};
        assert.equal(changed > 100, true, `${changed} source ports changed`);
        for (const reason of [
          'no_source_port',
          'flow_table_full',
          'flow_share_full',
          'direct_untracked',
        ] as const)
          assert.equal(metrics[reason], undefined, reason);
      } finally {
        await soak.close();
      }
    });
  }
});

function check({ seen, examples }: Seen): void {
  const { answers = 0 } = seen;
  assert.equal(answers > 1000, true, `${answers} answers`);
  const wrong = Object.keys(seen).filter((kind) => !HARMLESS.has(kind) && !kind.startsWith('late: '));
  assert.deepEqual(wrong, [], JSON.stringify(examples, undefined, 1));
  const late = Object.entries(seen).reduce(
    (sum, [kind, count]) => sum + (kind.startsWith('late: ') ? count : 0),
    0,
  );
  assert.equal(
    late <= (answers / 1000) * LATE_IN_THOUSAND,
    true,
    `${late} late: ${JSON.stringify(examples)}`,
  );
}

test('connections that both ends close at the same moment are closed in the table', async () => {
  const soak = new TupleSoak({
    attachment: 'veth',
    programs: 'packet',
    ports: [20_000, 60_000],
    timeWait: true,
  });
  try {
    await soak.raise();
    const connections = 800;
    assert.equal(soak.part(connections), 'parted');
    await setTimeout(200);
    const flows = soak.datapath?.flows() ?? [];
    assert.equal(flows.length > connections, true, `${flows.length} halves`);
    const open = flows.filter(([, { state }]) => state === 'new' || state === 'open');
    assert.deepEqual(open, []);
  } finally {
    await soak.close();
  }
});
