import { bitsOf, familyOf, type IP, parseIP } from '../../src/address/ip.ts';
import type { Prefix } from '../../src/address/prefix.ts';
import type { Attached, AttachmentSpec, PodAddress } from '../../src/attach/attachment.ts';
import type { Dns, Result, ResultInterface, ResultRoute } from '../protocol/result.ts';

/** The next hops of pods without a gateway of their own (docs/architecture.md, "Pod interfaces"). */
const ON_LINK_GATEWAY = { 4: parseIP('169.254.1.1'), 6: parseIP('fe80::1') } as const;

const DEFAULT_ROUTE: Record<4 | 6, Prefix> = {
  4: { address: parseIP('0.0.0.0'), length: 0 },
  6: { address: parseIP('::'), length: 0 },
};

/** What ADD tells the runtime: the interfaces, addresses and routes as they are in the kernel. */
export function resultOf(spec: AttachmentSpec, { host, pod }: Attached, dns: Dns): Result {
  const interfaces: ResultInterface[] = host ? [{ name: host.name, mac: host.mac, mtu: pod.mtu }] : [];
  const index = interfaces.push({
    name: pod.name,
    mac: pod.mac,
    mtu: pod.mtu,
    sandbox: spec.netns,
    pciID: pod.pciId,
  });
  const gatewayOf = (address: PodAddress): IP =>
    (spec.kind.kind === 'veth' ? undefined : address.gateway) ??
    ON_LINK_GATEWAY[familyOf(address.address.address)];
  const families = new Map<4 | 6, IP>();
  for (const address of spec.addresses) {
    const family = familyOf(address.address.address);
    if (!families.has(family)) families.set(family, gatewayOf(address));
  }
  const defaults: ResultRoute[] = [...families].map(([family, gw]) => ({ dst: DEFAULT_ROUTE[family], gw }));
  const others = spec.routes.map(({ prefix, via }) => ({
    dst: prefix,
    gw: via ?? families.get(familyOf(prefix.address)),
  }));
  return {
    interfaces,
    ips: spec.addresses.map((address) => ({
      address: spec.kind.kind === 'veth' ? alone(address) : address.address,
      gateway: gatewayOf(address),
      interface: index - 1,
    })),
    routes: [...defaults, ...others],
    dns,
  };
}

/** A veth pod shares its link with nobody. */
function alone({ address: { address } }: PodAddress) {
  return { address, length: bitsOf(familyOf(address)) };
}
