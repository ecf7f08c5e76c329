import { parsePrefix } from '../../address/prefix.ts';
import type { IPPool } from '../../store/kinds/ipPool.ts';

/** The one pool of the model: sixteen blocks of four addresses, two of which are reserved. */
export const POOL: IPPool = {
  apiVersion: 'network.tombolo.dev/v1alpha1',
  kind: 'IPPool',
  metadata: { name: 'default' },
  spec: {
    cidr: '10.0.0.0/26',
    blockSize: 30,
    reserved: ['10.0.0.8/31'],
    cooldownSeconds: 30,
    expansion: { low: 1, high: 3 },
  },
};
export const CIDR = parsePrefix(POOL.spec.cidr);
export const RESERVED = parsePrefix('10.0.0.8/31');
