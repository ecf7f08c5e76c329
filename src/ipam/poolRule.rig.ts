import { parsePrefix } from '../address/prefix.ts';
import { parseSelector } from '../selector/selector.ts';
import type { PoolRule } from './binding.ts';

/** A pool that is open to everybody, but for what is said otherwise. */
export function poolRule(name: string, cidr: string, otherwise: Partial<PoolRule> = {}): PoolRule {
  return {
    name,
    cidr: parsePrefix(cidr),
    nodeSelector: parseSelector(''),
    namespaceSelector: undefined,
    disabled: false,
    manual: false,
    workload: true,
    blockSize: 26,
    disableBGPExport: false,
    ...otherwise,
  };
}
