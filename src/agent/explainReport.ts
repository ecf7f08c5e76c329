import { explain } from '../ipam/explain.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Cluster } from './cluster.ts';
import type { ExplainReport } from './reports.ts';

/** Why a pod has its addresses, or what would happen if it were attached to this node now. */
export async function explainReport(
  ipam: Ipam,
  { bindings, supply }: Pick<Cluster, 'bindings' | 'supply'>,
  pod: { namespace: string; name: string },
): Promise<ExplainReport> {
  const subject = await bindings.subjectOf(pod);
  const held = ipam
    .allocations()
    .filter((one) => one.pod?.namespace === pod.namespace && one.pod.name === pod.name);
  const pools = bindings.rules();
  const situation = { subject, pools, usage: ipam.usage(), held, shortage: supply.reason() };
  return { pod: `${pod.namespace}/${pod.name}`, node: subject.node.name, ...explain(situation) };
}
