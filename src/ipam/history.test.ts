import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import { silentLog } from '../log.ts';
import { History } from './history.ts';
import { Ipam } from './ipam.ts';

const owner = (containerID: string) => ({ containerID, ifName: 'eth0', network: 'pods' });

test('who had an address, and when, is remembered beyond restarts and snapshots of the journal', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-history-'));
  let now = 0;
  const open = () => {
    const history = new History(directory);
    const ipam = new Ipam({ directory, cooldown: 0, boot: 'b', now: () => now, log: silentLog, history });
    return { history, ipam };
  };
  try {
    const first = open();
    await first.ipam.assign([{ prefix: parsePrefix('10.0.0.0/32'), state: 'active', generation: 1 }]);
    await first.ipam.allocate({ owner: owner('a'), addresses: [], pod: { namespace: 'shop', name: 'web' } });
    now = 60_000;
    await first.ipam.release(owner('a'));
    await first.ipam.close();
    first.history.close();
    // What a crash has cut off.
    appendFileSync(
      join(directory, 'history.jsonl'),
      '{"at":"1970-01-01T00:01:30Z","addresses":["10.0.0.0"\n',
    );
    now = 120_000;
    const next = open();
    await next.ipam.allocate({ owner: owner('b'), addresses: [], claim: 'shop/db-0' });
    await next.ipam.forget('shop/db-0', [parseIP('10.0.0.0')]);
    const told = next.history
      .of(parseIP('10.0.0.0'))
      .map(({ at, event, pod, claim }) => `${at.slice(14, 19)} ${event} ${pod ?? claim}`);
    assert.deepEqual(told, [
      '00:00 given shop/web',
      '01:00 released shop/web',
      '02:00 given shop/db-0',
      '02:00 forgotten shop/db-0',
    ]);
    assert.deepEqual(next.history.of(parseIP('10.0.0.1')), []);
    await next.ipam.close();
    next.history.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});
