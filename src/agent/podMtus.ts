import { knownUplinkMtu } from '../attach/nodeSettings.ts';
import { fitPodMtu } from '../attach/podMtu.ts';
import type { RecordStore } from '../attach/record.ts';
import { hasCode } from '../ffi/systemError.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';

export interface PodMtus {
  readonly records: RecordStore;
  readonly netlink: Netlink;
  /** Bytes that pods' packets leave free for headers of tunnels. */
  readonly room: number;
  readonly log: Log;
}

/** After `routing` has changed, or an uplink: pods go on as they are, with another MTU. */
export function fitPodMtus({ records, netlink, room, log }: PodMtus): void {
  const uplink = knownUplinkMtu(netlink);
  if (uplink === undefined) return;
  for (const record of records.list().records) {
    try {
      const fitted = fitPodMtu(netlink, record, uplink, room);
      if (fitted === undefined) continue;
      records.write(fitted);
      log.info('a pod has another MTU', { id: record.spec.id, mtu: fitted.attached?.pod.mtu });
    } catch (error) {
      // A pod that is going at this moment.
      if (!hasCode(error, 'ENOENT', 'ENODEV', 'EINVAL')) {
        log.error('a pod keeps its MTU', { id: record.spec.id, error });
      }
    }
  }
}
