/** What we act upon, on pods and namespaces. */
const HEEDED = [
  'cni.projectcalico.org/ipv4pools',
  'cni.projectcalico.org/ipv6pools',
  'cni.projectcalico.org/ipAddrs',
  'network.tombolo.dev/release-policy',
  'network.tombolo.dev/release-after-seconds',
];

/** What Calico gives a pod that says so and we do not: without it the pod would be another one than its owner thinks. */
const LACKING: Readonly<Record<string, string>> = {
  'cni.projectcalico.org/ipAddrsNoIpam':
    'addresses come from pools alone; cni.projectcalico.org/ipAddrs names them',
  'cni.projectcalico.org/floatingIPs':
    'there are no floating addresses; a Service with externalIPs is the nearest thing',
  'cni.projectcalico.org/hwAddr':
    'MAC addresses are not chosen by annotation; the CNI capability mac does that',
  'cni.projectcalico.org/allowedSourcePrefixes': 'pods send from their own addresses alone',
};

/** Why an annotation of a pod or namespace cannot be passed over: it is mistyped, or asks for what there is not. */
export function objectionTo(annotation: string): string | undefined {
  if (HEEDED.includes(annotation)) return undefined;
  const lacking = LACKING[annotation];
  if (lacking !== undefined) return lacking;
  const meant = HEEDED.find((one) => likeness(one) === likeness(annotation));
  if (meant !== undefined) return `there is no such annotation, did you mean ${meant}`;
  return annotation.startsWith('network.tombolo.dev/')
    ? `there is no such annotation of pods, expected one of ${HEEDED.filter((one) => one.startsWith('network.')).join(', ')}`
    : undefined;
}

/** Upper case, hyphens and plurals are what people get wrong. */
function likeness(annotation: string): string {
  return annotation.toLowerCase().replaceAll(/[-_]/g, '').replace(/s$/, '');
}
