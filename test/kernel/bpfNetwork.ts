/** Pods with real devices, sockets and processes, and the programs attached to them. */

import { closeSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import { NETNS_FLAGS } from '../../src/datapath/maps/netns.ts';
import { cgroupRoot, openCgroup } from '../../src/ebpf/cgroup.ts';
import { type AttachType, createLink } from '../../src/ebpf/link.ts';
import { hasCode } from '../../src/ffi/systemError.ts';
import { addFilter, type Direction } from '../../src/netlink/filter.ts';
import { getLink } from '../../src/netlink/link.ts';
import { namespaceCookie } from '../../src/netlink/namespace.ts';
import { ensureClsact } from '../../src/netlink/qdisc.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import type { Datapath, ProgramName } from './bpfRig.ts';
import { allowLookUps } from './bpfTestPod.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { PodProcess } from './podProcess.ts';

const ROUTER_MAC = '02:00:00:00:01:01';
const GATEWAYS = ['169.254.1.1', 'fe80::1'];

export interface Pod {
  readonly name: string;
  readonly namespace: TestNamespace;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly process: PodProcess;
}

interface Entering {
  enter(cgroup: string): void | Promise<void>;
}

const SOCKET_PROGRAMS: readonly [ProgramName, AttachType][] = [
  ['tb_connect4', 'cgroup_inet4_connect'],
  ['tb_connect6', 'cgroup_inet6_connect'],
  ['tb_sendmsg4', 'cgroup_udp4_sendmsg'],
  ['tb_sendmsg6', 'cgroup_udp6_sendmsg'],
  ['tb_recvmsg4', 'cgroup_udp4_recvmsg'],
  ['tb_recvmsg6', 'cgroup_udp6_recvmsg'],
  ['tb_getpeername4', 'cgroup_inet4_getpeername'],
  ['tb_getpeername6', 'cgroup_inet6_getpeername'],
  ['tb_sock_release', 'cgroup_inet_sock_release'],
];

const PACKET_PROGRAMS: readonly [string, Direction, ProgramName][] = [
  ['eth0', 'egress', 'tb_eth0_egress'],
  ['eth0', 'ingress', 'tb_eth0_ingress'],
  ['lo', 'egress', 'tb_lo'],
];

/**
 * A router, and pods around it. Pods on a veth pair have the router as their only neighbour; pods on a NIC
 * (a macvlan child) share a segment with each other, with the router as gateway.
 */
export class PodNetwork {
  readonly router: TestNamespace;
  readonly #namespaces: TestNamespaces;
  readonly #links: number[] = [];
  readonly #prefix: string;
  #cgroup: string | undefined;

  constructor(prefix: string) {
    this.#prefix = prefix;
    this.#namespaces = new TestNamespaces(prefix);
    this.router = this.namespace('router');
    configure(this.router, [
      'net.ipv4.ip_forward=1',
      'net.ipv6.conf.all.forwarding=1',
      'net.ipv4.conf.all.rp_filter=0',
    ]);
    ip(this.router, 'address add 192.0.2.1/32 dev lo', 'address add 2001:db8::1/128 dev lo');
  }

  namespace(name: string): TestNamespace {
    const namespace = this.#namespaces.create(name);
    // For tests that count on it, whatever this machine does by default.
    configure(namespace, [
      'net.ipv4.conf.default.rp_filter=0',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv4.ip_forward=0',
    ]);
    return namespace;
  }

  /** A pod as the plugin makes it on a veth pair. `number` is the last part of its addresses. */
  vethPod(name: string, number: number, router = this.router): Pod {
    const namespace = this.namespace(name);
    const [ipv4, ipv6] = [`10.1.0.${number}`, `fd00:1::${number}`];
    const host = `tbo${name}`;
    ip(
      router,
      `link add ${host} address ${ROUTER_MAC} type veth peer name eth0 netns ${namespace.name}`,
      `link set ${host} up`,
    );
    ip(
      namespace,
      'link set eth0 up',
      `address add ${ipv4}/32 dev eth0`,
      `address add ${ipv6}/128 dev eth0 nodad`,
    );
    for (const gateway of GATEWAYS) {
      ip(namespace, `route add default via ${gateway} dev eth0 onlink`);
      ip(namespace, `neighbour replace ${gateway} lladdr ${ROUTER_MAC} dev eth0 nud permanent`);
    }
    ip(router, `route add ${ipv4}/32 dev ${host}`, `route add ${ipv6}/128 dev ${host}`);
    const mac = namespace.ip('link show eth0')[0].address;
    for (const address of [ipv4, ipv6])
      ip(router, `neighbour replace ${address} lladdr ${mac} dev ${host} nud permanent`);
    return this.#pod(name, namespace, ipv4, ipv6);
  }

  /** The segment that NIC pods share: its parent device is the router's, and so is its gateway. */
  addSegment(): void {
    ip(
      this.router,
      'link add wire type veth peer name wired',
      'link set wire up',
      'link set wired up',
      'link add gateway link wire type macvlan mode bridge',
      `link set gateway address ${ROUTER_MAC} up`,
      'address add 10.2.0.1/24 dev gateway',
      'address add fd00:2::1/64 dev gateway nodad',
    );
  }

  /** A pod that owns a device of the segment. Without a gateway, all that is not on the segment goes nowhere. */
  nicPod(name: string, number: number, { gateway = true } = {}): Pod {
    const namespace = this.namespace(name);
    const [ipv4, ipv6] = [`10.2.0.${number}`, `fd00:2::${number}`];
    ip(
      this.router,
      `link add ${name} link wire type macvlan mode bridge`,
      `link set ${name} netns ${namespace.name}`,
    );
    ip(namespace, `link set ${name} name eth0`, 'link set eth0 up');
    ip(namespace, `address add ${ipv4}/24 dev eth0`, `address add ${ipv6}/64 dev eth0 nodad`);
    if (gateway) {
      ip(namespace, 'route add default via 10.2.0.1', 'route add default via fd00:2::1 dev eth0');
    } else {
      for (const nobody of GATEWAYS) {
        ip(namespace, `route add default via ${nobody} dev eth0 onlink`);
        ip(namespace, `neighbour replace ${nobody} lladdr 02:00:00:00:ff:ff dev eth0 nud permanent`);
      }
    }
    return this.#pod(name, namespace, ipv4, ipv6);
  }

  #pod(name: string, namespace: TestNamespace, ipv4: string, ipv6: string): Pod {
    configure(namespace, ['net.ipv4.conf.lo.accept_local=1']);
    allowLookUps(namespace);
    return { name, namespace, ipv4, ipv6, process: new PodProcess(namespace) };
  }

  /** Puts the packet programs on a pod: clsact filters as on veth pods, or TCX links as on NICs. */
  attachPackets(datapath: Datapath, pod: Pod, by: 'clsact' | 'tcx' = 'clsact'): void {
    pod.namespace.inside(() => {
      const netlink = openNetlink();
      try {
        for (const [device, direction, program] of PACKET_PROGRAMS) {
          const { index } = getLink(netlink, device);
          const fd = datapath.program(program);
          if (by === 'tcx') {
            this.#links.push(createLink(fd, index, `tcx_${direction}`));
            continue;
          }
          if (direction === 'egress') ensureClsact(netlink, index);
          addFilter(netlink, { index, direction, priority: 1, handle: 1, programFd: fd, name: program });
        }
      } finally {
        netlink.close();
      }
    });
  }

  /** Puts a process into a cgroup that carries the socket programs. */
  async attachSockets(datapath: Datapath, { process: who }: { process: Entering }): Promise<void> {
    if (this.#cgroup === undefined) {
      this.#cgroup = join(cgroupRoot() ?? '', `${this.#prefix}${process.pid}`);
      mkdirSync(this.#cgroup);
      const fd = openCgroup(this.#cgroup);
      for (const [program, type] of SOCKET_PROGRAMS) {
        this.#links.push(createLink(datapath.program(program), fd, type));
      }
      closeSync(fd);
    }
    await who.enter(this.#cgroup);
  }

  /** Lists a pod's namespace as served. */
  serve(datapath: Datapath, pod: Pod, ...hooks: readonly (keyof typeof NETNS_FLAGS)[]): void {
    const cookie = pod.namespace.inside(namespaceCookie);
    if (cookie === undefined) throw new Error('Cannot serve a pod: the kernel tells no cookie');
    const flags = hooks.reduce((bits, hook) => bits | NETNS_FLAGS[hook], 0);
    datapath.maps.tb_netns.set(cookie, { flags, ipv4: parseIP(pod.ipv4), ipv6: parseIP(pod.ipv6) });
  }

  async close(): Promise<void> {
    for (const fd of this.#links) closeSync(fd);
    this.#namespaces.close();
    // A process leaves its cgroup a moment after its end.
    for (let tries = 0; this.#cgroup !== undefined; tries++) {
      try {
        rmdirSync(this.#cgroup);
        this.#cgroup = undefined;
      } catch (error) {
        if (!hasCode(error, 'EBUSY') || tries === 100) throw error;
        await setTimeout(20);
      }
    }
  }
}

/** Runs `ip` commands, one after the other. */
export function ip(namespace: TestNamespace, ...commands: readonly string[]): void {
  for (const command of commands) namespace.run('ip', ...command.split(' '));
}

/** Sets sysctls of a namespace. */
export function configure(namespace: TestNamespace, settings: readonly string[]): void {
  namespace.run('sysctl', '-q', '-w', ...settings);
}
