import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import type { Allocation } from './allocator.ts';
import { type Books, check } from './check.ts';

function allocation(containerID: string, address: string, at = 0): Allocation {
  const owner = { containerID, ifName: 'eth0', network: 'pods' };
  return { owner, addresses: [parseIP(address)], at, boot: 'b' };
}

function attachment(containerID: string, address: string): Books['attachments'][number] {
  return { containerID, ifName: 'eth0', addresses: [parseIP(address)] };
}

function found(more: Partial<Books>): string[] {
  const books: Books = {
    segments: [{ prefix: parsePrefix('10.0.0.0/28'), state: 'active', generation: 2, pool: 'default' }],
    allocations: [allocation('a', '10.0.0.1')],
    attachments: [attachment('a', '10.0.0.1')],
    pools: [{ name: 'default', cidr: parsePrefix('10.0.0.0/16') }],
    others: [{ node: 'n2', cidr: parsePrefix('10.0.0.16/28') }],
    now: 3_600_000,
    ...more,
  };
  return check(books).map(({ kind, object, message }) => `${kind}: ${object}: ${message}`);
}

test('books that agree have no findings', () => assert.deepEqual(found({}), []));

test('an address that nobody uses any more is found, unless its ADD may be under way', () => {
  assert.deepEqual(found({ attachments: [] }), [
    "allocation without attachment: 10.0.0.1: container a holds it, and has no interface here; the runtime's GC gives it back",
  ]);
  assert.deepEqual(found({ attachments: [], allocations: [allocation('a', '10.0.0.1', 3_599_000)] }), []);
});

test('an address in use that the journal has free, or somebody else’s, is found', () => {
  assert.deepEqual(found({ allocations: [] }), [
    'attachment without allocation: 10.0.0.1: container a uses it on eth0, and the journal has it free',
  ]);
  const both = [attachment('a', '10.0.0.1'), attachment('b', '10.0.0.1')];
  assert.deepEqual(found({ attachments: both }), [
    'attachment without allocation: 10.0.0.1: container b uses it on eth0, and the journal has container a hold it',
  ]);
});

test('an address outside the segments of the node is found', () => {
  const books = { allocations: [allocation('a', '10.9.0.1')], attachments: [attachment('a', '10.9.0.1')] };
  assert.match(found(books).join(), /^address outside segments: 10\.9\.0\.1: container a holds it/);
});

test('a segment that another node holds as well is found', () => {
  const others = [{ node: 'n2', cidr: parsePrefix('10.0.0.0/27') }];
  assert.deepEqual(found({ others }), ['segment held twice: 10.0.0.0/28: node n2 holds 10.0.0.0/27']);
});

test('a segment whose pool is gone, or has moved away, is found', () => {
  assert.deepEqual(found({ pools: [] }), [
    'segment without pool: 10.0.0.0/28: there is no pool default that can be read',
  ]);
  const pools = [{ name: 'default', cidr: parsePrefix('10.7.0.0/16') }];
  assert.deepEqual(found({ pools }), ['segment outside pool: 10.0.0.0/28: pool default is 10.7.0.0/16']);
});
