import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { follow } from '../../src/store/follow.ts';
import type { NodeNetwork } from '../../src/store/kinds/nodeNetwork.ts';
import type { Kind, ObjectOf } from '../../src/store/kinds/registry.ts';
import { openKubernetesStore } from '../../src/store/kubernetes/kubernetes.ts';
import { StrictApiServer } from '../../src/store/kubernetes/strictApiServer.ts';
import type { Store } from '../../src/store/store.ts';
import { TestOperator } from '../kernel/operatorRig.ts';

/** So many requests of the simulated agents are under way at once. */
const PARALLEL = 32;
const LIMIT_MS = 120_000;

export interface OperatorFigures {
  /** From the start of the process until every node has its first block, in ms. */
  readonly first: number;
  /** From the first agent that says it ran dry until all of them have room for their pods, in ms. */
  readonly full: number;
  /** The most memory the process has had resident, in MiB. */
  readonly memory: number;
}

/**
 * The operator as it is built, over the Kubernetes API: a cluster of nodes that all join at once, and all run full at once.
 * The server is this process, and so are the agents.
 */
export async function withOperatorProcess(nodes: number, pods: number): Promise<OperatorFigures> {
  const directory = mkdtempSync('/run/tombolo-ipambench-');
  const server = await StrictApiServer.start();
  server.pageSize = 500;
  const nothing = { ca: undefined, certificate: undefined, key: undefined, serverName: undefined };
  const store = openKubernetesStore({ server: server.url, ...nothing, token: () => undefined, verify: true });
  const stop = new AbortController();
  let operator: TestOperator | undefined;
  try {
    await populate(store, nodes);
    const networks = new Networks(store, stop.signal);
    const began = performance.now();
    operator = await TestOperator.over(kubeconfig(directory, server.url));
    await networks.until((all) => all.length === nodes && all.every((one) => capacity(one) > 0));
    const first = performance.now() - began;
    const dry = performance.now();
    await inParallel(networks.all(), (network) => runDry(store, network, pods));
    await networks.until((all) => all.every((one) => capacity(one) >= pods));
    return { first, full: performance.now() - dry, memory: peakMemory(operator.pid) };
  } finally {
    stop.abort();
    await operator?.end('SIGKILL');
    await store.close();
    await server.stop();
    rmSync(directory, { recursive: true });
  }
}

/** What the operator has assigned, as it is now. */
class Networks {
  readonly #known = new Map<string, NodeNetwork>();
  #changed = () => {};

  constructor(store: Store, signal: AbortSignal) {
    void follow(
      store,
      'NodeNetwork',
      (change) => {
        if (change.type === 'interrupted') throw change.error;
        for (const object of change.type === 'replaced' ? change.objects : [change.object]) {
          this.#known.set(object.metadata.name, object);
        }
        this.#changed();
      },
      signal,
    );
  }

  all(): NodeNetwork[] {
    return [...this.#known.values()];
  }

  /** Looked at ten times a second: to look at thousands after each change would be the measurement. */
  async until(holds: (all: readonly NodeNetwork[]) => boolean): Promise<void> {
    for (const end = performance.now() + LIMIT_MS; !holds(this.all()); ) {
      if (performance.now() > end) throw new Error(`the operator is not done after ${LIMIT_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function populate(store: Store, nodes: number): Promise<void> {
  await store.create({
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name: 'default' },
    spec: { cidr: '10.0.0.0/8', blockSize: 27 },
  });
  await inParallel(
    Array.from({ length: nodes }, (_, index) => `node-${index}`),
    async (name) => {
      const node: ObjectOf<Kind> = { apiVersion: 'v1', kind: 'Node', metadata: { name } };
      await store.create(node);
    },
  );
}

/** What an agent says whose pods have taken every address, and wait for more. */
async function runDry(store: Store, network: NodeNetwork, pods: number): Promise<void> {
  const segments = (network.spec.segments ?? []).map(({ cidr, generation = 1 }) => ({
    cidr,
    generation,
    used: 32,
  }));
  const status = { segments, requests: [{ family: 4, addresses: pods - 32 }] };
  await store.updateStatus({ ...network, status });
}

function capacity({ spec }: NodeNetwork): number {
  return (spec.segments ?? []).filter(({ state }) => state === 'active').length * 32;
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  const worker = async () => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

function kubeconfig(directory: string, server: URL): string {
  const file = join(directory, 'kubeconfig');
  const clusters = [{ name: 'c', cluster: { server: server.origin } }];
  const contexts = [{ name: 'x', context: { cluster: 'c', user: 'u' } }];
  writeFileSync(
    file,
    JSON.stringify({ clusters, contexts, users: [{ name: 'u', user: {} }], 'current-context': 'x' }),
  );
  return `kubernetes:${file}`;
}

/** `VmHWM` of proc(5), in MiB. */
function peakMemory(pid: number): number {
  const [, kib = ''] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}
