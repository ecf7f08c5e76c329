import type { TestNamespace } from '../kernel/namespaces.ts';
import { restoreTables } from './kubeProxyTables.ts';
import type { OutsideService } from './outsideWorlds.ts';
import { SERVER_PORT } from './servicesLoad.ts';

const CLUSTER = '10.77.0.0/16';

/** Gives a node the chains of kube-proxy's iptables mode for services of type LoadBalancer with one endpoint each. */
export function serveByIptables(node: TestNamespace, services: readonly OutsideService[]): void {
  const names = services.map((_, index) => ({
    external: `KUBE-EXT-${index}`,
    service: `KUBE-SVC-${index}`,
    endpoint: `KUBE-SEP-${index}`,
  }));
  const rules = services.flatMap(({ clusterIP, vip, nodePort, backend }, index) => {
    const { external = '', service = '', endpoint = '' } = names[index] ?? {};
    return [
      `-A KUBE-SERVICES -d ${clusterIP}/32 -p tcp -m tcp --dport 80 -j ${service}`,
      `-A KUBE-SERVICES -d ${vip}/32 -p tcp -m tcp --dport 80 -j ${external}`,
      `-A KUBE-NODEPORTS -p tcp -m tcp --dport ${nodePort} -j ${external}`,
      `-A ${external} -j KUBE-MARK-MASQ`,
      `-A ${external} -j ${service}`,
      `-A ${service} ! -s ${CLUSTER} -d ${clusterIP}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ`,
      `-A ${service} -j ${endpoint}`,
      `-A ${endpoint} -s ${backend}/32 -j KUBE-MARK-MASQ`,
      `-A ${endpoint} -p tcp -m tcp -j DNAT --to-destination ${backend}:${SERVER_PORT}`,
    ];
  });
  const chains = names.flatMap((each) => Object.values(each));
  restoreTables(node, chains, rules);
}
