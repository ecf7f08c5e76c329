import assert from 'node:assert/strict';
import { formatIP, type IP } from '../../address/ip.ts';
import { addressAt, contains, formatPrefix, prefixSize } from '../../address/prefix.ts';
import { routedSegments } from '../../agent/bgpNode.ts';
import type { Ipam, SegmentUsage } from '../../ipam/ipam.ts';

/** The journal of an agent, and the containers that it has answered for and that live. */
export interface Books {
  readonly name: string;
  readonly ipam: Ipam;
  readonly pods: ReadonlyMap<string, readonly IP[]>;
}

/** Nothing is booked twice or forgotten, what is held is announced, and the sums are right. */
export function expectBooks({ name, ipam, pods }: Books): void {
  const holders = new Map<IP, string>();
  for (const { owner, addresses } of ipam.allocations()) {
    for (const address of addresses) {
      assert.equal(holders.get(address), undefined, `${name} books ${formatIP(address)} twice`);
      holders.set(address, owner.containerID);
    }
  }
  for (const [id, addresses] of pods) {
    for (const address of addresses) assert.equal(holders.get(address), id, `${name} forgot ${id}`);
  }
  const usage = ipam.usage();
  const announced = routedSegments({ usage, held: [...holders.keys()] });
  for (const address of holders.keys()) {
    const covered = announced.some((prefix) => contains(prefix, address));
    assert.ok(covered, `${name} announces nothing that leads to ${formatIP(address)}`);
  }
  for (const each of usage) expectSum(ipam, each, holders);
}

/** free + used + resting + reserved = all there are, address by address. */
function expectSum(
  ipam: Ipam,
  { segment, capacity, used, resting, reserved }: SegmentUsage,
  held: ReadonlyMap<IP, string>,
): void {
  const range = formatPrefix(segment.prefix);
  const counts = { free: 0, used: 0, resting: 0, reserved: 0 };
  for (let index = 0n; index < prefixSize(segment.prefix); index++) {
    const address = addressAt(segment.prefix, index);
    if (held.has(address) || ipam.kept().has(address)) counts.used++;
    else if (ipam.restingUntil(address) !== undefined) counts.resting++;
    else if (segment.reserved?.some((prefix) => contains(prefix, address))) counts.reserved++;
    else counts.free++;
  }
  assert.equal(used, counts.used, `what ${range} says is used`);
  assert.equal(resting, counts.resting, `what ${range} says rests`);
  assert.equal(reserved, BigInt(counts.reserved), `what ${range} says is reserved`);
  assert.equal(BigInt(counts.free + used + resting), capacity, `what there is of ${range}`);
}
