/** A node for test runs: packets are handed to the programs of its devices, and its routes are real. */

import { type IPv4, type IPv6, parseIP } from '../../src/address/ip.ts';
import type { ThisNode } from '../../src/datapath/maps/node.ts';
import type { Pod } from '../../src/datapath/maps/pods.ts';
import { type SkBuff, skBuff, testRun } from '../../src/ebpf/program.ts';
import type { Datapath, ProgramName } from './bpfRig.ts';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';

/** Both ends of the pod's pair. */
export const HOST_MAC = '02:00:00:00:00:01';
export const POD_MAC = '02:00:00:00:00:02';
export const UPLINK_MAC = '02:00:00:00:00:03';

export function macOf(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

/** A pod stands behind `tbo`, the world behind `up0`; nothing is sent to either. */
export class BpfNode<Other extends string = never> {
  readonly namespace: TestNamespace;
  /** Of the devices, by name. */
  readonly index: Readonly<Record<'tbo' | 'up0' | Other, number>>;

  /** @param others Further devices, by name, and their MAC addresses. */
  constructor(namespaces: TestNamespaces, others: Readonly<Record<Other, string>>) {
    const node = namespaces.create('node');
    const far = namespaces.create('far');
    this.namespace = node;
    node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    const macs: Readonly<Record<string, string>> = { tbo: HOST_MAC, up0: UPLINK_MAC, ...others };
    for (const [name, mac] of Object.entries(macs)) {
      this.ip(`link add ${name} address ${mac} type veth peer name ${name}p netns ${far.name}`);
      this.ip(`link set ${name} up`);
      far.run('ip', ...`link set ${name}p up`.split(' '));
    }
    this.ip('address add 192.0.2.2/24 dev up0');
    this.ip('address add 2001:db8::2/64 dev up0 nodad');
    this.ip('route add default via 192.0.2.1');
    this.ip('route add default via 2001:db8::1');
    this.index = Object.fromEntries(
      Object.keys(macs).map((name) => [name, node.ip(`link show ${name}`)[0].ifindex]),
    ) as Record<'tbo' | 'up0' | Other, number>;
  }

  ip(words: string): void {
    this.namespace.run('ip', ...words.split(' '));
  }

  /** What the programs know of a pod behind `tbo`. */
  get pod(): Pod {
    return { ifindex: this.index.tbo, flags: 0, mac: macOf(POD_MAC), gateway: macOf(HOST_MAC) };
  }

  /** What they know of the node, where it has no overlay. */
  get itself(): ThisNode {
    return {
      uplinks: [this.index.up0],
      vxlan: 0,
      address: parseIP('192.0.2.2') as IPv4,
      overlay_mtu: 1450,
      tunnel_port: 0,
      flags: 0,
      first_port: 20_000,
      ports: 1_000,
      ipv6: parseIP('2001:db8::2') as IPv6,
    };
  }

  /** Hands a frame to a program; what it did. */
  run(datapath: Datapath, program: ProgramName, data: Buffer, context: SkBuff, repeat = 1) {
    const fd = datapath.program(program);
    return this.namespace.inside(() => testRun(fd, { data, context: skBuff(context), repeat }));
  }
}
