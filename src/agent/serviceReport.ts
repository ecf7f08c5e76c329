import { formatIP } from '../address/ip.ts';
import { PROTOCOLS } from '../datapath/maps/endpoint.ts';
import type { ProgrammedSet } from '../datapath/programmedSet.ts';
import type { ServiceReport } from './reports.ts';

const NAMES = new Map(Object.entries(PROTOCOLS).map(([name, number]) => [number as number, name]));

/** What the maps serve, ordered by name; what was found in them and not asked for yet has none. */
export function serviceReports(sets: Iterable<ProgrammedSet>): ServiceReport[] {
  return [...sets].map(serviceReport).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

function serviceReport({
  key,
  port,
  protocol,
  frontends,
  backends,
  affinitySeconds,
  scope,
}: ProgrammedSet): ServiceReport {
  const [, namespace = '', name = key] = /^([^/]+)\/([^:]+):/.exec(key) ?? [];
  return {
    namespace,
    name,
    port,
    protocol: NAMES.get(protocol) ?? String(protocol),
    frontends: frontends.map(({ address }) => formatIP(address)),
    backends: backends.map(({ address, port, state }) => ({ address: formatIP(address), port, state })),
    affinity: affinitySeconds,
    scope,
  };
}

function keyOf({ namespace, name, port, protocol, frontends, scope }: ServiceReport): string {
  return `${namespace}/${name} ${scope} ${port} ${protocol} ${frontends[0] ?? ''}`;
}
