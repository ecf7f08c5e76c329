import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';
import { PacketSocket } from './packetSocket.ts';
import { describe } from './packets.ts';

export const VXLAN_PORT = 8472;

export interface NodeWishes {
  readonly routing: 'underlay' | 'overlay';
  readonly config?: Record<string, unknown>;
}

/** A node of the rig: number 1 has 192.0.2.11, 10.77.1.0/24 and fd77:1::/64. */
export interface RigNode {
  readonly rig: AgentRig;
  readonly name: string;
  readonly address: string;
  readonly segments: readonly string[];
  /** The device of the fabric that the node's uplink ends at. */
  readonly port: string;
}

/**
 * Nodes around one router, which knows the segments of the underlay and nothing of the others; agents with one store. Nodes
 * reach each other's segments by way of the router, as from rack to rack.
 */
export class NodesRig {
  readonly fabric: TestNamespace;
  readonly nodes: RigNode[] = [];
  readonly store: string;
  readonly #namespaces: TestNamespaces;

  constructor(namespaces: TestNamespaces, name: string, wishes: readonly NodeWishes[]) {
    this.#namespaces = namespaces;
    this.store = mkdtempSync(`/run/tbnodes-${name}-`);
    this.fabric = namespaces.create(`${name}-fabric`);
    this.fabric.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    this.fabric.run('ip', ...'link add br0 type bridge'.split(' '));
    this.fabric.run('ip', ...'address add 192.0.2.1/24 dev br0'.split(' '));
    this.fabric.run('ip', ...'address add 2001:db8::1/64 dev br0 nodad'.split(' '));
    this.fabric.run('ip', ...'link set br0 up'.split(' '));
    wishes.forEach((wish, index) => {
      this.nodes.push(this.#addNode(`${name}${index + 1}`, index + 1, wish));
    });
  }

  node(number: number): RigNode {
    const node = this.nodes[number - 1];
    if (!node) throw new Error(`Cannot find node ${number}`);
    return node;
  }

  /** Starts all agents, and waits until each knows the ways to all others. */
  async start(): Promise<void> {
    await Promise.all(this.nodes.map(({ rig }) => rig.start()));
    await eventually(async () => {
      for (const { rig, name } of this.nodes) {
        const tunnels: { readonly node?: string; readonly of: string }[] = await rig.json('/v1/tunnels');
        const known = new Set(tunnels.filter(({ of }) => of === 'pods').map(({ node }) => node));
        const others = this.nodes.filter((other) => other.name !== name);
        assert.deepEqual(
          others.filter((other) => !known.has(other.name)).map((other) => other.name),
          [],
          `${name} does not know all others`,
        );
      }
    });
  }

  async remove(): Promise<void> {
    await Promise.all(this.nodes.map(({ rig }) => rig.remove()));
    rmSync(this.store, { recursive: true, force: true });
  }

  #addNode(name: string, number: number, { routing, config = {} }: NodeWishes): RigNode {
    const at = this.#namespaces.create(`${name}-node`);
    const port = `port${number}`;
    const address = `192.0.2.${10 + number}`;
    const segments = [`10.77.${number}.0/24`, `fd77:${number}::/64`];
    this.fabric.run('ip', ...`link add ${port} type veth peer name up0 netns ${at.name}`.split(' '));
    this.fabric.run('ip', ...`link set ${port} master br0 up`.split(' '));
    at.run('ip', ...`address add ${address}/24 dev up0`.split(' '));
    at.run('ip', ...`address add 2001:db8::${10 + number}/64 dev up0 nodad`.split(' '));
    at.run('ip', ...'link set up0 up'.split(' '));
    at.run('ip', ...'route add default via 192.0.2.1'.split(' '));
    at.run('ip', ...'route add default via 2001:db8::1'.split(' '));
    if (routing === 'underlay') {
      this.fabric.run('ip', ...`route add ${segments[0]} via ${address}`.split(' '));
      this.fabric.run('ip', ...`route add ${segments[1]} via 2001:db8::${10 + number}`.split(' '));
    }
    const place = { node: at, leaf: this.fabric };
    const store = `directory:${this.store}`;
    const rig = new AgentRig(this.#namespaces, name, { routing, segments, store, ...config }, place);
    return { rig, name, address, segments, port };
  }
}

/** A packet on a cable, in words, and what is inside if it is of the overlay. */
export interface Seen {
  readonly outer: string;
  readonly inner: string | undefined;
}

/** Runs `body` and tells what passes a device of the fabric meanwhile: IP packets, less neighbour discovery. */
export async function seenOn(
  fabric: TestNamespace,
  device: string,
  body: () => unknown | Promise<unknown>,
): Promise<Seen[]> {
  const socket = new PacketSocket(fabric, device);
  try {
    await body();
    return socket.frames().flatMap(takeApart);
  } finally {
    socket.close();
  }
}

function takeApart(bytes: Buffer): Seen[] {
  const type = bytes.readUInt16BE(12);
  if (type !== 0x0800 && type !== 0x86dd) return [];
  const outer = describe(bytes);
  if (/ icmp 13[3-6]\/| ff0\d:/.test(outer)) return [];
  const tunnelled = type === 0x0800 && bytes[23] === 17 && bytes.readUInt16BE(36) === VXLAN_PORT;
  return [{ outer, inner: tunnelled ? describe(bytes.subarray(50)) : undefined }];
}
