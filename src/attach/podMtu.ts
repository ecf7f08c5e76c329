import { setLink } from '../netlink/link.ts';
import { namespaceIdentity, sameNamespace, withNamespace } from '../netlink/namespace.ts';
import { type Netlink, openNetlink } from '../netlink/socket.ts';
import { type AttachmentRecord, bootId } from './record.ts';

/**
 * Gives a pod on a veth the MTU that it would be attached with now: that of the uplink, less the room for headers of tunnels. Both ends
 * change, and with them what the pod's connections send from the next packet on. One that was told its MTU keeps it.
 *
 * @param node A socket in the node's namespace.
 * @param uplink Bytes.
 * @param room Bytes.
 * @returns The attachment as it is now; `undefined` where nothing has changed.
 * @throws {SystemError} If a device or the namespace is gone.
 */
export function fitPodMtu(
  node: Netlink,
  record: AttachmentRecord,
  uplink: number,
  room: number,
): AttachmentRecord | undefined {
  const { spec, attached } = record;
  const host = attached?.host;
  if (record.state !== 'attached' || record.bootId !== bootId() || host === undefined || spec.mtu !== 0) {
    return undefined;
  }
  const mtu = uplink - room;
  if (attached === undefined || attached.pod.mtu === mtu) return undefined;
  if (!sameNamespace(namespaceIdentity(spec.netns), record.namespace)) return undefined;
  withNamespace(spec.netns, () => {
    const pod = openNetlink();
    try {
      setLink(pod, attached.pod.index, { mtu });
    } finally {
      pod.close();
    }
  });
  setLink(node, host.index, { mtu });
  return {
    ...record,
    spec: { ...spec, room: room === 0 ? undefined : room },
    attached: { ...attached, pod: { ...attached.pod, mtu } },
  };
}
