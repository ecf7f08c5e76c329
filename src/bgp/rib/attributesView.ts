import { formatIP, formatIPv4, type IPv4 } from '../../address/ip.ts';
import { formatCommunity } from '../policy/community.ts';
import { decodeAttribute } from '../wire/attributeCodec.ts';
import { formatExtendedCommunity, formatLargeCommunity } from '../wire/community.ts';
import { Cursor } from '../wire/cursor.ts';
import type { UpdateContext } from '../wire/update.ts';
import { formatPath } from './asPath.ts';
import type { AttributeStore } from './attributeStore.ts';
import { AS_PATH, eachAttribute } from './pathAttributes.ts';

/** Path attributes for people and programs; what is absent is not there. */
export interface AttributesView {
  readonly origin?: string;
  readonly asPath: string;
  readonly nextHop?: string;
  readonly med?: number;
  readonly localPreference?: number;
  readonly communities?: readonly string[];
  readonly extendedCommunities?: readonly string[];
  readonly largeCommunities?: readonly string[];
  readonly originatorId?: string;
  readonly clusterList?: readonly string[];
  /** Others, by type, as hex. */
  readonly others?: Readonly<Record<string, string>>;
}

const CONTEXT: UpdateContext = {
  session: 'unknown',
  asn4: true,
  addPath: new Set(),
  extendedNextHop: new Set(),
};
const FAULT = { code: 3, subcode: 1, what: 'path attributes' };

export function attributesView(store: AttributeStore, id: number): AttributesView {
  const block = Buffer.from(store.block(id));
  let view: AttributesView = { asPath: '' };
  if ((store.nextHopLength[id] as number) > 0) {
    view = { ...view, nextHop: formatIP(store.nextHops.address(store.nextHop[id] as number)) };
  }
  eachAttribute(block, 0, block.length, (type, flags, start, end) => {
    if (type === AS_PATH) view = { ...view, asPath: formatPath(block.subarray(start, end)) };
    else view = { ...view, ...described(type, flags, block, start, end, view) };
  });
  return view;
}

function described(
  type: number,
  flags: number,
  block: Buffer,
  start: number,
  end: number,
  { others }: AttributesView,
): Partial<AttributesView> {
  const attribute = decodeAttribute(type, flags, new Cursor(block, FAULT, start, end), CONTEXT);
  switch (attribute.type) {
    case 'ORIGIN':
      return { origin: attribute.origin };
    case 'MULTI_EXIT_DISC':
      return { med: attribute.value };
    case 'LOCAL_PREF':
      return { localPreference: attribute.value };
    case 'COMMUNITIES':
      return { communities: attribute.communities.map(formatCommunity) };
    case 'EXTENDED_COMMUNITIES':
      return { extendedCommunities: attribute.communities.map(formatExtendedCommunity) };
    case 'LARGE_COMMUNITIES':
      return { largeCommunities: attribute.communities.map(formatLargeCommunity) };
    case 'ORIGINATOR_ID':
      return { originatorId: formatIPv4(attribute.identifier) };
    case 'CLUSTER_LIST':
      return { clusterList: attribute.clusters.map((cluster: IPv4) => formatIPv4(cluster)) };
    default:
      return { others: { ...others, [type]: block.toString('hex', start, end) } };
  }
}
