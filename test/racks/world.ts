import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import type { SpeakerStatus } from '../../src/bgp/speaker/status.ts';
import { Lab } from '../interop/lab.ts';
import { eventually } from '../interop/waiting.ts';
import { AgentRig } from '../kernel/agentRig.ts';
import { type TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { TestOperator } from '../kernel/operatorRig.ts';
import { clusterObjects, type StoreObject, serviceObjects } from './cluster.ts';
import { buildFabric, type Fabric, type Leaf, nextHopsOf, plugIn } from './fabric.ts';
import { RACKS, type RackPlan } from './plan.ts';
import type { LeafWishes, Make } from './routers.ts';

/** Two cores may be busy with others. */
const PATIENCE_MS = 90_000;

export type NodeName = 'a1' | 'a2' | 'b1' | 'b2';
export const NODES: readonly NodeName[] = ['a1', 'a2', 'b1', 'b2'];

/** A server in a rack: a namespace with an uplink, and the agent in it. */
export interface RackNode {
  readonly name: NodeName;
  readonly address: string;
  readonly leaf: Leaf;
  readonly namespace: TestNamespace;
  readonly rig: AgentRig;
}

export interface Pod {
  readonly node: RackNode;
  readonly namespace: TestNamespace;
  readonly address: string;
  /** One of each family that the world has. */
  readonly addresses: readonly string[];
}

export interface WorldWishes {
  /** Whose daemons are the switches; FRR where absent. */
  readonly make?: Make;
  readonly leaf?: LeafWishes;
  /** More keys of an agent's configuration. */
  readonly config?: (node: NodeName) => Record<string, unknown>;
  /** Pools of IPv6 beside those of IPv4. */
  readonly dualStack?: boolean;
  /** More keys of a rack's pool. */
  readonly pools?: (rack: RackPlan) => Record<string, unknown>;
}

/**
 * Two racks of two nodes: real switches' daemons, the agent as it is built on each node, one operator, and a store they
 * share. All of it is gone when the process ends, however it ends.
 */
export class World {
  readonly fabric: Fabric;
  readonly nodes: Readonly<Record<NodeName, RackNode>>;
  readonly #lab: Lab;
  readonly #namespaces: TestNamespaces;
  readonly #directory: string;
  #operator: TestOperator | undefined;

  /** Cables it, with nothing at work but the switches. */
  constructor(prefix: string, wishes: WorldWishes = {}) {
    this.#namespaces = new TestNamespaces(prefix);
    this.#lab = new Lab(prefix, this.#namespaces);
    this.#directory = mkdtempSync(`/run/${prefix}-`);
    process.on('exit', () => rmSync(this.#directory, { recursive: true, force: true }));
    this.fabric = buildFabric(this.#lab, wishes.make ?? 'frr', wishes.leaf);
    const nodes = NODES.map((name) => [name, this.#cable(name, wishes)] as const);
    this.nodes = Object.fromEntries(nodes) as Record<NodeName, RackNode>;
    process.on('exit', () => {
      for (const { rig } of Object.values(this.nodes)) rig.discard();
    });
    const racks = RACKS.map((rack) => {
      const own = Object.values(this.nodes).filter(({ leaf }) => leaf.rack === rack);
      const { nodesAsn } = wishes.leaf ?? {};
      return { rack, nodes: own.map(({ name }) => name), pool: wishes.pools?.(rack), nodesAsn };
    });
    for (const object of clusterObjects(racks, wishes.dualStack)) this.write(object);
  }

  /** A world at work: every node has a segment, and a session with its leaf. */
  static async start(prefix: string, wishes: WorldWishes = {}): Promise<World> {
    const world = new World(prefix, wishes);
    try {
      await world.begin();
      for (const name of NODES) await world.announced(name);
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  /** Starts operator and agents, and waits for segments and sessions. */
  async begin(): Promise<void> {
    this.#operator = await TestOperator.start(this.store, '--shrink-after', '3');
    await Promise.all(NODES.map((name) => this.nodes[name].rig.start()));
    for (const name of NODES) {
      await eventually(
        `a segment of ${name}`,
        async () => (await this.segments(name)).length > 0,
        PATIENCE_MS,
      );
      await this.established(name);
    }
  }

  get store(): string {
    return join(this.#directory, 'store');
  }

  /** The segments a node gives addresses from. */
  async segments(name: NodeName): Promise<string[]> {
    const { segments }: { segments: { cidr: string; state: string }[] } =
      await this.nodes[name].rig.json('/v1/ipam');
    return segments.filter(({ state }) => state === 'active').map(({ cidr }) => cidr);
  }

  /** What the operator says a node has, in whatever state. */
  async assigned(name: NodeName): Promise<{ cidr: string; state: string }[]> {
    const { stdout } = await this.nodes[name].rig.cli(['get', 'NodeNetwork', name, '-o', 'json']);
    return JSON.parse(stdout).spec.segments ?? [];
  }

  /** Waits until a node and its leaf talk to each other. */
  async established(name: NodeName): Promise<void> {
    const up = async () => {
      const { neighbours }: SpeakerStatus = await this.nodes[name].rig.json('/v1/bgp/neighbors');
      return neighbours.some(({ state }) => state === 'Established');
    };
    await eventually(`the session of ${name} with its leaf`, up, PATIENCE_MS);
  }

  /** Waits until a node's segments have come to the spine and to every other node that is at work. */
  async announced(name: NodeName, among: readonly NodeName[] = NODES): Promise<void> {
    const { spine } = this.fabric;
    const others = among.filter((other) => other !== name && this.nodes[other].rig.pid !== 0);
    for (const segment of await this.segments(name)) {
      const places = [spine.router.namespace, ...others.map((other) => this.nodes[other].namespace)];
      const know = () => places.every((place) => nextHopsOf(place, segment).length > 0);
      await eventually(`a route to ${segment} of ${name} everywhere`, know, PATIENCE_MS);
    }
  }

  /** A pod on a node. @param configuration Of the plugin, beyond what every pod has. */
  async pod(on: NodeName, name: string, configuration: object = {}): Promise<Pod> {
    const node = this.nodes[on];
    return { node, ...(await node.rig.pod(name, configuration)) };
  }

  async remove({ node, namespace }: Pod): Promise<void> {
    const containerID = namespace.name.replace(/^[a-z]+\d+-/, '');
    const { status, body } = await node.rig.verb('DEL', containerID, namespace.path);
    if (status !== 200) throw new Error(`DEL ${containerID}: ${body}`);
    namespace.remove();
  }

  /**
   * A service with a cluster IP, an address for the outside and backends, for TCP and UDP.
   *
   * @param vips One of each family that it is to have.
   */
  service(
    name: string,
    vips: string | readonly string[],
    backends: readonly Pod[],
    spec: Record<string, unknown>,
  ): void {
    for (const object of serviceObjects(name, [vips].flat(), backends, spec)) this.write(object);
  }

  /** Gives a node a label, or takes one from it; what its agent has written stays. */
  label(name: NodeName, key: string, value: string | undefined): void {
    const node: StoreObject = parse(readFileSync(join(this.store, 'Node', `${name}.yaml`), 'utf8'));
    const { [key]: _, ...labels } = node.metadata.labels as Record<string, string>;
    if (value !== undefined) labels[key] = value;
    this.write({ ...node, metadata: { ...node.metadata, labels } });
  }

  /** Writes an object into the store, as `kubectl apply` would. */
  write(object: StoreObject): void {
    const { kind, metadata } = object;
    const file = join(this.store, kind, metadata.namespace ?? '', `${metadata.name}.yaml`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.new`, JSON.stringify(object));
    renameSync(`${file}.new`, file);
  }

  async close(): Promise<void> {
    await this.#operator?.end('SIGKILL');
    await Promise.all(Object.values(this.nodes).map(({ rig }) => rig.remove()));
    await this.#lab.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #cable(name: NodeName, wishes: WorldWishes): RackNode {
    const leaf = this.fabric.leaves.find(({ rack }) => name.startsWith(rack.name));
    assert.ok(leaf);
    const namespace = this.#namespaces.create(name);
    const address = plugIn(leaf, namespace, Number(name.slice(1)));
    const config = {
      store: `directory:${this.store}`,
      segments: [],
      bgp: '0.0.0.0:179',
      ...wishes.config?.(name),
    };
    const rig = new AgentRig(this.#namespaces, name, config, {
      node: namespace,
      leaf: leaf.router.namespace,
    });
    return { name, address, leaf, namespace, rig };
  }
}
