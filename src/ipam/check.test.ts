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

function claim(holder?: { node: string; container: string }): Books['claims'][number] {
  return { key: 'shop/db-0', addresses: [parseIP('10.0.0.5')], holder, passed: holder !== undefined };
}

function found(more: Partial<Books>): string[] {
  const books: Books = {
    segments: [{ prefix: parsePrefix('10.0.0.0/28'), state: 'active', generation: 2, pool: 'default' }],
    allocations: [allocation('a', '10.0.0.1')],
    attachments: [attachment('a', '10.0.0.1')],
    pools: [{ name: 'default', cidr: parsePrefix('10.0.0.0/16') }],
    others: [{ node: 'n2', cidr: parsePrefix('10.0.0.16/28') }],
    node: 'n1',
    claims: [],
    kept: new Map(),
    blackholes: [parsePrefix('10.0.0.0/28')],
    passages: [],
    links: [],
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

test('an address that was reserved under its pod is found', () => {
  const reserved = [parsePrefix('10.0.0.0/31')];
  const segments = [
    { prefix: parsePrefix('10.0.0.0/28'), state: 'active', generation: 2, reserved } as const,
  ];
  assert.deepEqual(found({ segments }), [
    'reserved address in use: 10.0.0.1: container a has held it since before its pool reserved it',
  ]);
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

test('a claim and the journal disagree about who holds an address, or for whom it is kept', () => {
  const kept = new Map([[parseIP('10.0.0.5'), 'shop/db-0']]);
  const holder = { node: 'n1', container: 'gone' };
  assert.deepEqual(found({ claims: [claim()], kept }), []);
  assert.match(
    found({ claims: [claim(holder)], kept }).join(),
    /^claim held by no container: shop\/db-0: .* gone/,
  );
  assert.match(found({ claims: [claim()] }).join(), /^claimed address not kept: 10\.0\.0\.5/);
  assert.match(found({ kept }).join(), /^address kept for no claim: 10\.0\.0\.5: .* which is gone/);
  const borrowed = { ...allocation('b', '10.9.9.9'), claim: 'shop/db-0' };
  const books = { allocations: [borrowed], attachments: [attachment('b', '10.9.9.9')] };
  const elsewhere = { ...claim({ node: 'n2', container: 'c' }), addresses: [parseIP('10.9.9.9')] };
  assert.match(
    found({ ...books, claims: [elsewhere] }).join(),
    /^address of a claim held without it: 10\.9\.9\.9: .* says that node n2 holds it$/,
  );
  const rightful = { ...elsewhere, holder: { node: 'n1', container: 'b' } };
  assert.deepEqual(found({ ...books, claims: [rightful] }), []);
});

test('an address that is lent and that the black hole of its block swallows is found', () => {
  const kept = new Map([[parseIP('10.0.0.5'), 'shop/db-0']]);
  const lent = claim({ node: 'n2', container: 'c' });
  assert.deepEqual(found({ claims: [lent], kept }), [
    'borrowed address without a way: 10.0.0.5: node n2 holds it by claim shop/db-0, and this node drops what is sent there',
  ]);
  assert.deepEqual(found({ claims: [lent], kept, passages: [parseIP('10.0.0.5')] }), []);
  assert.deepEqual(
    found({ claims: [{ ...lent, passed: false }], kept }),
    [],
    'its ADD waits for the way still',
  );
  const others = { ...lent, addresses: [parseIP('10.0.0.17')] };
  assert.deepEqual(found({ claims: [others] }), [], "another node's block");
});

test('a black hole wider than the segments is found, and a segment without one, unless it is one address', () => {
  assert.match(found({ blackholes: [] }).join(), /^segment without black hole: 10\.0\.0\.0\/28/);
  const wide = [parsePrefix('10.0.0.0/28'), parsePrefix('10.96.0.0/12')];
  assert.match(found({ blackholes: wide }).join(), /^black hole without segment: 10\.96\.0\.0\/12/);
  const single = { prefix: parsePrefix('10.0.0.1/32'), state: 'active', generation: 1 } as const;
  assert.deepEqual(found({ segments: [single], blackholes: [] }), []);
});

test('a pool that lies on a network of the node is found', () => {
  const links = [{ name: 'docker0', network: parsePrefix('10.0.128.0/17') }];
  assert.match(
    found({ links }).join(),
    /^pool on a link: 10\.0\.0\.0\/16: pool default overlaps .* on docker0$/,
  );
});
