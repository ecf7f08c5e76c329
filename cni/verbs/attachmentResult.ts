import { prefixFamily } from '../../src/address/prefix.ts';
import type { Attached, AttachmentSpec } from '../../src/attach/attachment.ts';
import { planNic, planVethPod } from '../../src/attach/plan.ts';
import type { Dns, Result } from '../protocol/result.ts';

/** What ADD tells the runtime: interfaces, addresses and routes by the plan they were made by. */
export function resultOf(spec: AttachmentSpec, { host, pod }: Attached, dns: Dns): Result {
  const { addresses, routes } = host ? planVethPod(spec, host.mac) : planNic(spec);
  const own = { name: pod.name, mac: pod.mac, mtu: pod.mtu, sandbox: spec.netns, pciID: pod.pciId };
  const interfaces = host ? [{ name: host.name, mac: host.mac, mtu: pod.mtu }, own] : [own];
  return {
    interfaces,
    ips: addresses.map((address) => ({
      address,
      gateway: routes.find(
        ({ prefix }) => prefix.length === 0 && prefixFamily(prefix) === prefixFamily(address),
      )?.gateway,
      interface: interfaces.length - 1,
    })),
    routes: routes.map(({ prefix, gateway }) => ({ dst: prefix, gw: gateway })),
    dns,
  };
}
