import { messageOf } from '../../src/errors.ts';
import { type NamespaceIdentity, namespaceIdentity, sameNamespace } from '../../src/netlink/namespace.ts';
import { CniError, CODE } from '../protocol/error.ts';

/**
 * Refuses a pod namespace that does not exist, and the node's own, where a pod's interface would take the place
 * of one of the node's; `CNI_NETNS_OVERRIDE` insists on the latter.
 *
 * @throws {CniError} Code 8.
 */
export function confirmNamespace({ netns, netnsOverride }: { netns: string; netnsOverride: boolean }): void {
  const own = namespaceIdentity();
  const given = identityOf(netns);
  // All namespaces lie in one file system of their own; what a runtime leaves when it unmounts one does not.
  if (given.device !== own.device) {
    throw new CniError(CODE.invalidNetns, `Cannot use network namespace ${netns}: it is none`);
  }
  if (sameNamespace(given, own) && !netnsOverride) {
    throw new CniError(
      CODE.invalidNetns,
      `Cannot use network namespace ${netns}: it is the node's own, not a pod's`,
    );
  }
}

function identityOf(netns: string): NamespaceIdentity {
  try {
    return namespaceIdentity(netns);
  } catch (error) {
    throw new CniError(CODE.invalidNetns, `Cannot find network namespace ${netns}: ${messageOf(error)}`);
  }
}
