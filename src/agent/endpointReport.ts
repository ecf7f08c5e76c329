import type { AttachmentRecord } from '../attach/record.ts';
import { describeForwarding, type ForwardingMode, stackReasonOf } from '../datapath/hostEnds.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { EndpointReport } from './reports.ts';

export function endpointReports(
  records: readonly AttachmentRecord[],
  ipam: Ipam,
  mode: Pick<ForwardingMode, 'way'>,
): EndpointReport[] {
  return records
    .map(({ spec, state, hostLink }) => {
      const owner = { containerID: spec.containerId, ifName: spec.ifName };
      const pod = ipam.heldBy(owner)?.pod;
      return {
        id: spec.id,
        ...owner,
        network: spec.network,
        pod: pod && `${pod.namespace}/${pod.name}`,
        kind: spec.kind.kind === 'child' ? spec.kind.type : spec.kind.kind,
        addresses: spec.addresses.map(({ address }) => address.replace(/\/.*$/, '')),
        hostLink,
        forwarding:
          spec.kind.kind === 'veth' ? describeForwarding(stackReasonOf(mode, spec.followers)) : undefined,
        netns: spec.netns,
        state,
      };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}
