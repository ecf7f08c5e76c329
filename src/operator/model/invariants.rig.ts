import assert from 'node:assert/strict';
import { formatIP, type IP } from '../../address/ip.ts';
import { contains, parsePrefix } from '../../address/prefix.ts';
import type { IPClaim } from '../../store/kinds/ipClaim.ts';
import type { NodeNetwork } from '../../store/kinds/nodeNetwork.ts';
import { FreeBlocks } from '../blocks.ts';
import type { Machine } from './machine.rig.ts';
import { CIDR, POOL, RESERVED } from './pool.rig.ts';

/** No address is two containers', and each is of a block of its node, or borrowed by a claim. */
export function expectOneOwner(
  machines: readonly Pick<Machine, 'name' | 'pods'>[],
  networks: readonly NodeNetwork[],
  claims: readonly IPClaim[],
): void {
  const owners = new Map<IP, string>();
  for (const { name, pods } of machines) {
    const network = networks.find(({ metadata }) => metadata.name === name);
    for (const [id, addresses] of pods) {
      const borrowed = claims.some(({ status }) => status?.container === id && status.node === name);
      for (const address of addresses) {
        assert.equal(owners.get(address), undefined, `${formatIP(address)} has two owners, one is ${id}`);
        owners.set(address, id);
        if (!borrowed) expectHome(name, address, network);
      }
    }
  }
}

function expectHome(name: string, address: IP, network: NodeNetwork | undefined): void {
  const segments = network?.spec.segments ?? [];
  const home = segments.find(({ cidr }) => contains(parsePrefix(cidr), address));
  const reported = network?.status?.segments?.find(
    ({ cidr, used = 0 }) => used > 0 && contains(parsePrefix(cidr), address),
  );
  const state = home?.state ?? (reported ? 'active' : 'no segment');
  const allowed = ['active', 'releasing', 'cooling'];
  assert.ok(allowed.includes(state), `${formatIP(address)} of a pod of ${name} lies in ${state}`);
  assert.ok(!contains(RESERVED, address), `${formatIP(address)} is reserved`);
}

/** Claims aside, each block is held once, or free: none is reserved whole. */
export function expectBlocks(networks: readonly NodeNetwork[]): void {
  const held = networks.flatMap(({ spec }) =>
    (spec.segments ?? []).flatMap(({ cidr, state }) => (state === 'claimed' ? [] : [parsePrefix(cidr)])),
  );
  const free = new FreeBlocks(CIDR, POOL.spec.blockSize ?? 0, held);
  assert.equal(held.length + Number(free.count), 16, 'blocks held and free');
}
