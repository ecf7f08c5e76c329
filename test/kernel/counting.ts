import type { RigNode } from './nodesRig.ts';

/** How often each reason was counted on a node. */
export async function counts({ rig }: RigNode): Promise<ReadonlyMap<string, number>> {
  const { body } = await rig.get('/metrics');
  const lines = body.matchAll(/^tombolo_datapath_events_total\{reason="(\w+)".*\} (\d+)$/gm);
  return new Map([...lines].map(([, reason = '', count]) => [reason, Number(count)]));
}

/** How much a reason was counted while `body` ran. */
export async function counted(node: RigNode, reason: string, body: () => unknown): Promise<number> {
  const before = (await counts(node)).get(reason) ?? Number.NaN;
  await body();
  return ((await counts(node)).get(reason) ?? Number.NaN) - before;
}

/** Counts what the node's stack forwards from now on, and lets all pass. @returns How much it was so far. */
export function countForwarded({ rig: { node } }: RigNode): () => number {
  for (const command of ['iptables', 'ip6tables']) {
    node.run(command, '-N', 'SEEN');
    node.run(command, '-A', 'SEEN', '-j', 'RETURN');
    node.run(command, '-I', 'FORWARD', '-j', 'SEEN');
  }
  const count = (command: string) =>
    Number(/(\d+)\s+\d+ RETURN/.exec(node.run(command, '-nvxL', 'SEEN'))?.[1] ?? Number.NaN);
  return () => count('iptables') + count('ip6tables');
}
