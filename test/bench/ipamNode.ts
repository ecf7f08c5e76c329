import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parsePrefix } from '../../src/address/prefix.ts';
import { Ipam } from '../../src/ipam/ipam.ts';
import { silentLog } from '../../src/log.ts';

/** Runs `work` on an IPAM whose journal lies on the disk of the machine, and not in its memory. */
export async function withIpam<T>(work: (ipam: Ipam) => Promise<T>): Promise<T> {
  const directory = mkdtempSync('/var/tmp/tombolo-ipambench-');
  const [boot, now] = ['bench', Date.now];
  const ipam = new Ipam({ directory: join(directory, 'ipam'), cooldown: 0, boot, now, log: silentLog });
  try {
    await ipam.assign([{ prefix: parsePrefix('10.0.0.0/14'), state: 'active', generation: 1 }]);
    return await work(ipam);
  } finally {
    await ipam.close();
    rmSync(directory, { recursive: true });
  }
}

/** Allocates for `count` containers, `parallel` at a time; each waits for the disk. @returns Milliseconds. */
export function allocate(ipam: Ipam, prefix: string, count: number, parallel: number): Promise<number> {
  return each(prefix, count, parallel, (containerID) =>
    ipam.allocate({ owner: { containerID, ifName: 'eth0', network: 'pods' }, addresses: [] }),
  );
}

export function release(ipam: Ipam, prefix: string, count: number, parallel: number): Promise<number> {
  return each(prefix, count, parallel, (containerID) => ipam.release({ containerID, ifName: 'eth0' }));
}

async function each(
  prefix: string,
  count: number,
  parallel: number,
  work: (containerID: string) => Promise<unknown>,
): Promise<number> {
  let next = 0;
  const worker = async () => {
    while (next < count) await work(`${prefix}${next++}`);
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: parallel }, worker));
  return performance.now() - began;
}
