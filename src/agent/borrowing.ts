import type { IP } from '../address/ip.ts';
import { contains, parsePrefix } from '../address/prefix.ts';
import type { Routing } from '../datapath/tunnelPlan.ts';
import type { PoolRule, Subject } from '../ipam/binding.ts';
import { OUT_OF_SERVICE, reasonNotToBorrow } from '../ipam/claim.ts';
import { isNobody, selects } from '../selector/selector.ts';
import type { Change } from '../store/follow.ts';
import { ifThere } from '../store/ifThere.ts';
import type { IPAMConfiguration } from '../store/kinds/ipamConfiguration.ts';
import type { Store } from '../store/store.ts';
import type { Bindings } from './binding.ts';
import type { AgentConfig } from './config.ts';

/** The living nodes whose blocks these addresses are of. */
export async function blockOwners(store: Store, addresses: readonly IP[]): Promise<string[]> {
  const { items } = await store.list('NodeNetwork');
  const names = items
    .filter(({ spec }) =>
      (spec.segments ?? []).some(({ cidr }) =>
        addresses.some((address) => contains(parsePrefix(cidr), address)),
      ),
    )
    .map(({ metadata }) => metadata.name);
  return living(store, names);
}

/** Those of these nodes that are there, and not off for good. */
export async function living(store: Store, names: readonly string[]): Promise<string[]> {
  const alive = await Promise.all(names.map((name) => isAlive(store, name)));
  return names.filter((_, index) => alive[index]);
}

async function isAlive(store: Store, name: string): Promise<boolean> {
  const node = await ifThere(store.get('Node', { name }));
  if (node === undefined || node.metadata.deletionTimestamp !== undefined) return false;
  return !(node.spec?.taints ?? []).some(({ key }) => key === OUT_OF_SERVICE);
}

/** Whether an address of another node's block can be held here and be found by everybody. */
export function borrowingOf({
  config,
  node,
  bindings,
  blockRouting,
}: {
  readonly config: Pick<AgentConfig, 'routing' | 'bgp'>;
  readonly node: string;
  readonly bindings: Pick<Bindings, 'rules'>;
  /** How the node is reached whose block an address is of. */
  readonly blockRouting: (address: IP) => Routing | undefined;
}) {
  let strictAffinity = false;
  const take = (configuration: IPAMConfiguration, there: boolean) => {
    if (configuration.metadata.name === 'default')
      strictAffinity = there && (configuration.spec.strictAffinity ?? false);
  };
  const reason = (
    pool: PoolRule | undefined,
    ofBlock: Routing | undefined,
    subject: Subject,
    onLink: boolean,
  ) =>
    reasonNotToBorrow({
      pool: pool && {
        name: pool.name,
        disableBGPExport: pool.disableBGPExport,
        selectsNode: isNobody(pool.nodeSelector) || selects(pool.nodeSelector, subject.node.labels),
      },
      node,
      strictAffinity,
      routing: config.routing,
      blockRouting: ofBlock,
      announces: config.bgp !== undefined,
      onLink,
    });
  return {
    onConfiguration(change: Change<IPAMConfiguration>): void {
      if (change.type === 'interrupted') return;
      if (change.type === 'replaced') {
        strictAffinity = false;
        for (const configuration of change.objects) take(configuration, true);
      } else take(change.object, change.type === 'applied');
    },

    /** @returns Undefined where the address may be borrowed. */
    reasonAgainst(address: IP, subject: Subject, onLink: boolean): string | undefined {
      const pool = bindings.rules().find(({ cidr }) => contains(cidr, address));
      return reason(pool, blockRouting(address), subject, onLink);
    },

    /** @returns Undefined where addresses of the pool may be borrowed from nodes that are reached as this one is. */
    reasonAgainstPool: (pool: PoolRule, subject: Subject, onLink: boolean) =>
      reason(pool, config.routing, subject, onLink),
  };
}
