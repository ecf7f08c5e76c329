import { bitsOf } from '../../address/ip.ts';
import { covers, parsePrefix, prefixFamily } from '../../address/prefix.ts';
import { boolean, integer, listOf, type Of, object, oneOf, openObject, type Problem } from '../schema.ts';
import {
  CALICO_VERSIONS,
  conditions,
  defineKind,
  prefix,
  type StoredObject,
  selector,
  TOMBOLO_V1ALPHA1,
} from './kind.ts';

const body = object(
  {
    spec: object(
      { cidr: prefix },
      {
        /** The length of the blocks cut from the pool; 26 and 122 where absent. */
        blockSize: integer(20, 128),
        nodeSelector: selector,
        namespaceSelector: selector,
        allowedUses: listOf(oneOf('Workload', 'Tunnel', 'LoadBalancer')),
        assignmentMode: oneOf('Automatic', 'Manual'),
        ipipMode: oneOf('Always', 'CrossSubnet', 'Never'),
        vxlanMode: oneOf('Always', 'CrossSubnet', 'Never'),
        natOutgoing: boolean(),
        disabled: boolean(),
        disableBGPExport: boolean(),
        /** Ours: prefixes inside the pool that are never given out. */
        reserved: listOf(prefix),
        /** Ours: how long a released address rests before another pod has it, and a block before another node does. */
        cooldownSeconds: integer(0, 86400),
        /** Ours: how a node's share of the pool grows and shrinks, in addresses; `step` in blocks. */
        expansion: object(
          {},
          {
            low: integer(0, 65536),
            high: integer(0, 65536),
            min: integer(0, 65536),
            max: integer(1, 65536),
            step: integer(1, 1024),
          },
        ),
      },
    ),
  },
  {
    status: openObject(
      {},
      {
        /** What the operator goes by: the spec, unless that says something that cannot be. */
        inForce: openObject({ cidr: prefix, blockSize: integer(20, 128) }, {}),
        conditions,
      },
    ),
  },
);

const TUNNELS = 'routing in the configuration of a node says whether its packets go through tunnels';

export const ipPool = defineKind({
  kind: 'IPPool',
  apiVersion: TOMBOLO_V1ALPHA1,
  otherVersions: CALICO_VERSIONS,
  description: 'A range of pod addresses, cut into blocks that nodes are given as they need them.',
  plural: 'ippools',
  shortNames: ['ipp'],
  namespaced: false,
  body,
  rules: ({ spec }) => {
    const problems = blockSizeProblems(spec.cidr, spec.blockSize);
    return problems.length > 0 ? problems : [...reservedProblems(spec), ...expansionProblems(spec)];
  },
  unheeded: ({ spec: { ipipMode = 'Never', vxlanMode = 'Never' } }) => ({
    ...(ipipMode !== 'Never' && { ipipMode: TUNNELS }),
    ...(vxlanMode !== 'Never' && { vxlanMode: TUNNELS }),
  }),
  columns: [
    ['CIDR', ({ spec }) => spec.cidr, '.spec.cidr'],
    ['BLOCKSIZE', ({ spec }) => blockSizeOf(spec), '.spec.blockSize'],
    ['SELECTOR', ({ spec }) => spec.nodeSelector ?? 'all()', '.spec.nodeSelector'],
    ['DISABLED', ({ spec }) => spec.disabled ?? false, '.spec.disabled'],
    [
      'ACCEPTED',
      ({ status }) => status?.conditions?.find(({ type }) => type === ACCEPTED)?.status,
      '.status.conditions[?(@.type=="Accepted")].status',
    ],
  ],
});

export type IPPool = StoredObject & Of<typeof body>;

/** What must not change under the pool's addresses. */
export interface PoolShape {
  readonly cidr: string;
  readonly blockSize: number;
}

export function shapeOf(spec: IPPool['spec']): PoolShape {
  return { cidr: spec.cidr, blockSize: blockSizeOf(spec) };
}

/** The pool as the operator takes it: a change that it refuses has not happened. */
export function inForce(pool: IPPool): IPPool {
  const shape = pool.status?.inForce;
  return shape ? { ...pool, spec: { ...pool.spec, cidr: shape.cidr, blockSize: shape.blockSize } } : pool;
}

/** The condition that says whether the pool is taken as it is written. */
export const ACCEPTED = 'Accepted';

/** The length of a pool's blocks, Calico's default where it names none. */
export function blockSizeOf({ cidr, blockSize }: IPPool['spec']): number {
  return blockSize ?? (prefixFamily(parsePrefix(cidr)) === 4 ? 26 : 122);
}

function blockSizeProblems(cidr: string, blockSize: number | undefined): Problem[] {
  const { address, length } = parsePrefix(cidr);
  const [least, most] = typeof address === 'number' ? [20, 32] : [116, 128];
  const size = blockSize ?? (most === 32 ? 26 : 122);
  if (size < least || size > most) {
    return [{ path: 'spec.blockSize', reason: `expected ${least} to ${most} for this family`, value: size }];
  }
  return size < length
    ? [{ path: 'spec.cidr', reason: `holds no block of length ${size}`, value: cidr }]
    : [];
}

/** A range that is reserved elsewhere is a typo: what it was meant to save would be given out. */
function reservedProblems({ cidr, reserved = [] }: IPPool['spec']): Problem[] {
  const range = parsePrefix(cidr);
  return reserved.flatMap((one, index) =>
    covers(range, parsePrefix(one))
      ? []
      : [{ path: `spec.reserved[${index}]`, reason: `lies outside ${cidr}`, value: one }],
  );
}

function expansionProblems({ cidr, blockSize, expansion = {} }: IPPool['spec']): Problem[] {
  const { low = 0, high, min = 0, max } = expansion;
  const problems: Problem[] = [];
  const path = (field: string) => `spec.expansion.${field}`;
  if (high !== undefined && high < low) {
    problems.push({ path: path('high'), reason: `is less than low, which is ${low}`, value: high });
  }
  if (max === undefined) return problems;
  const block =
    2 ** (prefixBits(cidr) - blockSizeOf({ cidr, ...(blockSize !== undefined && { blockSize }) }));
  if (max < min)
    problems.push({ path: path('max'), reason: `is less than min, which is ${min}`, value: max });
  if (max < block) {
    problems.push({ path: path('max'), reason: `is less than one block, which has ${block}`, value: max });
  }
  return problems;
}

function prefixBits(cidr: string): number {
  return bitsOf(prefixFamily(parsePrefix(cidr)));
}
