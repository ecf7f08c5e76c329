import type { RecordStore } from '../attach/record.ts';
import type { Endpoint } from '../datapath/maps/endpoint.ts';
import { destroyUdpSockets } from '../datapath/socketDestroy.ts';
import { hasCode } from '../ffi/systemError.ts';
import type { Log } from '../log.ts';
import { withNamespace } from '../netlink/namespace.ts';

const UDP = 17;

/**
 * Ends the UDP sockets, of the node and its pods, that were connected to places which serve no longer: nothing
 * else would ever tell them.
 */
export function endUdpSockets(places: readonly Endpoint[], records: RecordStore, log: Log): void {
  const gone = places.filter(({ protocol }) => protocol === UDP);
  if (gone.length === 0) return;
  const attempt = (where: string, work: () => number) => {
    try {
      const ended = work();
      if (ended > 0) log.info('UDP sockets of a retired backend ended', { where, ended });
    } catch (error) {
      // A pod that has gone meanwhile has no sockets.
      if (!hasCode(error, 'ENOENT', 'EINVAL')) log.warning('UDP sockets cannot be ended', { where, error });
    }
  };
  attempt('node', () => destroyUdpSockets(gone));
  const namespaces = new Set(records.list().records.map(({ spec }) => spec.netns));
  for (const netns of namespaces) attempt(netns, () => withNamespace(netns, () => destroyUdpSockets(gone)));
}
