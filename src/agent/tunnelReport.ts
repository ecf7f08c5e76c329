import { formatIP } from '../address/ip.ts';
import { formatPrefix } from '../address/prefix.ts';
import type { ClusterPrefix } from '../datapath/tunnelPlan.ts';
import type { TunnelReport } from './reports.ts';

export function tunnelReport({ prefix, of, node, endpoint }: ClusterPrefix): TunnelReport {
  return {
    prefix: formatPrefix(prefix),
    of,
    node,
    path: endpoint === undefined ? 'underlay' : 'overlay',
    endpoint: endpoint && formatIP(endpoint),
  };
}
