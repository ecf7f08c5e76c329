import { spawnSync } from 'node:child_process';
import type { TestNamespace } from '../kernel/namespaces.ts';
import { FILTER_TABLE } from './kubeProxyFilter.ts';
import type { OutsideService } from './outsideWorlds.ts';
import { SERVER_PORT } from './servicesLoad.ts';

const CLUSTER = '10.77.0.0/16';

/** Gives a node the chains of kube-proxy's iptables mode for services of type LoadBalancer with one endpoint each. */
export function serveByIptables(node: TestNamespace, services: readonly OutsideService[]): void {
  // The older of the two back ends: rules are matched in the kernel's own tables, not by nftables' expressions.
  const words = [`--net=${node.path}`, 'iptables-legacy-restore'];
  const { status, stderr } = spawnSync('nsenter', words, { input: rulesOf(services), encoding: 'utf8' });
  if (status !== 0) throw new Error(`Cannot restore iptables rules: ${stderr.trim()}`);
}

function rulesOf(services: readonly OutsideService[]): string {
  const names = services.map((_, index) => ({
    external: `KUBE-EXT-${index}`,
    service: `KUBE-SVC-${index}`,
    endpoint: `KUBE-SEP-${index}`,
  }));
  const chains = names.flatMap((each) => Object.values(each).map((chain) => `:${chain} - [0:0]`));
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
  return `*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
${chains.join('\n')}
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
${rules.join('\n')}
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
${FILTER_TABLE}`;
}
