import { parsePrefix } from '../../address/prefix.ts';
import type { BGPFilter, BGPFilterRule } from '../../store/kinds/bgpFilter.ts';
import type { Filter, FilterRule } from '../policy/filter.ts';

/** A BGPFilter as the policy takes it: the same, with its prefixes parsed. */
export function filterFrom(name: string, spec: BGPFilter['spec']): Filter {
  return {
    name,
    exportV4: rules(spec.exportV4),
    importV4: rules(spec.importV4),
    exportV6: rules(spec.exportV6),
    importV6: rules(spec.importV6),
  };
}

function rules(written: readonly BGPFilterRule[] = []): FilterRule[] {
  return written.map(({ cidr, ...rest }) => ({
    ...(rest as Omit<FilterRule, 'cidr'>),
    ...(cidr !== undefined && { cidr: parsePrefix(cidr) }),
  }));
}
