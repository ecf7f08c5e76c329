import { isDeepStrictEqual } from 'node:util';
import { formatIP, type IP } from '../address/ip.ts';
import type { Log } from '../log.ts';
import { ifThere } from '../store/ifThere.ts';
import { internalIPs } from '../store/kinds/node.ts';
import type { ObjectOf } from '../store/kinds/registry.ts';
import type { Store } from '../store/store.ts';
import type { NodeFacts } from './detect.ts';
import { persevering } from './persevering.ts';
import type { StoreState } from './storeState.ts';

/**
 * Registers the node now, and again when somebody has written over what was said of it.
 *
 * @returns To be called when its addresses are others than before.
 */
export function keepRegistered(
  store: StoreState,
  node: Pick<NodeFacts, 'name' | 'ips'>,
  log: Log,
): () => void {
  let said: readonly IP[] = [];
  const register = () => {
    const former = said;
    said = node.ips;
    registerNode(store.store, node, log, former).catch((error: unknown) => {
      log.warning('the node cannot be registered', { error });
    });
  };
  register();
  // Whoever writes labels into a file may have left out what the agent has said of itself.
  if (store.store.location.startsWith('directory:')) {
    store.follow('Node', (change) => {
      if (change.type !== 'applied' || change.object.metadata.name !== node.name) return;
      if (internalIPs(change.object).length === 0) register();
    });
  }
  return register;
}

/**
 * Makes the node known where nobody else does: in a directory there is no kubelet to write the `Node`. One that
 * exists is left alone, but for addresses that it lacks, or that were the node's until now.
 *
 * @param former The node's addresses before they changed.
 */
export async function registerNode(
  store: Store,
  { name, ips }: Pick<NodeFacts, 'name' | 'ips'>,
  log: Log,
  former: readonly IP[] = [],
): Promise<void> {
  if (!store.location.startsWith('directory:')) return;
  const addresses = [
    ...ips.map((ip) => ({ type: 'InternalIP', address: formatIP(ip) })),
    { type: 'Hostname', address: name },
  ];
  await persevering(async () => {
    const node = await ifThere(store.get('Node', { name }));
    if (!node) {
      const fresh: ObjectOf<'Node'> = {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name },
        status: { addresses },
      };
      await store.create(fresh);
      log.info('node registered', { name, addresses: ips.map(formatIP) });
    } else if (isOurs(internalIPs(node), former) && ips.length > 0) {
      await store.updateStatus({ ...node, status: { ...node.status, addresses } });
    } else if (ips[0] !== undefined && !internalIPs(node).includes(formatIP(ips[0]))) {
      const said = internalIPs(node);
      log.warning('the node object names other addresses', { name, said, ours: formatIP(ips[0]) });
    }
  });
}

/** Whether this is what the agent has said itself, or nobody has said anything. */
function isOurs(said: readonly string[], former: readonly IP[]): boolean {
  return said.length === 0 || (former.length > 0 && isDeepStrictEqual(said, former.map(formatIP)));
}
