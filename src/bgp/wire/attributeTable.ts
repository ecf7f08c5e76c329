import type { IPv4 } from '../../address/ip.ts';
import { type AsnSize, checkAsPath, decodeAsPath, writeAsPath } from './asPath.ts';
import type { Origin } from './attribute.ts';
import {
  type AttributeRow,
  type Check,
  exactly,
  multipleOf,
  OPTIONAL,
  OPTIONAL_TRANSITIVE,
  repeat,
  row,
  WELL_KNOWN,
} from './attributeRow.ts';
import { twoOctetAs } from './open.ts';
import { type Action, UPDATE_SUBCODE, wrongLength } from './reason.ts';
import {
  checkAigp,
  checkCharacteristics,
  checkLinkState,
  checkOnlyToCustomer,
  checkPmsi,
  checkPrefixSid,
  checkTunnelEncapsulation,
} from './tlv.ts';
import type { UpdateContext } from './update.ts';

const asnSize = (context: UpdateContext): AsnSize => (context.asn4 ? 4 : 2);

const ORIGINS: readonly Origin[] = ['IGP', 'EGP', 'INCOMPLETE'];

const ORIGIN = row<'ORIGIN'>(
  {
    code: 1,
    name: 'ORIGIN',
    flags: WELL_KNOWN,
    malformed: 'treat-as-withdraw',
    check: exactly(1, (bytes, start) => {
      const value = bytes.readUInt8(start);
      if (value < ORIGINS.length) return undefined;
      return { subcode: UPDATE_SUBCODE.invalidOrigin, message: `there is no such origin (value ${value})` };
    }),
  },
  {
    decode: (value) => ({ type: 'ORIGIN', origin: ORIGINS[value.u8()] ?? 'INCOMPLETE' }),
    encode: ({ origin }, to) => to.u8(ORIGINS.indexOf(origin)),
  },
);

const AS_PATH = row<'AS_PATH'>(
  {
    code: 2,
    name: 'AS_PATH',
    flags: WELL_KNOWN,
    malformed: 'treat-as-withdraw',
    // Confederation segments never cross a confederation's border (RFC 5065 §5).
    check: (bytes, start, end, context) =>
      checkAsPath(bytes, start, end, asnSize(context), context.session !== 'ebgp'),
  },
  {
    decode: (value, context) => ({ type: 'AS_PATH', segments: decodeAsPath(value, asnSize(context)) }),
    encode: ({ segments }, to, context) => writeAsPath(segments, to, asnSize(context)),
  },
);

const NEXT_HOP = row<'NEXT_HOP'>(
  {
    code: 3,
    name: 'NEXT_HOP',
    flags: WELL_KNOWN,
    malformed: 'treat-as-withdraw',
    check: exactly(4, (bytes, start) => {
      const first = bytes.readUInt8(start);
      // Not the address of a host (RFC 4271 §6.3): this network, loopback, multicast. Whether 240.0.0.0/4 is one
      // depends on the network; Linux routes it.
      const multicast = first >= 224 && first < 240;
      if (first !== 0 && first !== 127 && !multicast) return undefined;
      return { subcode: UPDATE_SUBCODE.invalidNextHop, message: 'this is not the address of a host' };
    }),
  },
  {
    decode: (value) => ({ type: 'NEXT_HOP', address: value.ipv4() }),
    encode: ({ address }, to) => to.u32(address),
  },
);

const MULTI_EXIT_DISC = row<'MULTI_EXIT_DISC'>(
  { code: 4, name: 'MULTI_EXIT_DISC', flags: OPTIONAL, malformed: 'treat-as-withdraw', check: exactly(4) },
  {
    decode: (value) => ({ type: 'MULTI_EXIT_DISC', value: value.u32() }),
    encode: ({ value }, to) => to.u32(value),
  },
);

const LOCAL_PREF = row<'LOCAL_PREF'>(
  {
    code: 5,
    name: 'LOCAL_PREF',
    flags: WELL_KNOWN,
    malformed: 'treat-as-withdraw',
    internalOnly: true,
    check: exactly(4),
  },
  {
    decode: (value) => ({ type: 'LOCAL_PREF', value: value.u32() }),
    encode: ({ value }, to) => to.u32(value),
  },
);

const ATOMIC_AGGREGATE = row<'ATOMIC_AGGREGATE'>(
  {
    code: 6,
    name: 'ATOMIC_AGGREGATE',
    flags: WELL_KNOWN,
    malformed: 'attribute-discard',
    wrongFlags: 'treat-as-withdraw',
    check: exactly(0),
  },
  { decode: () => ({ type: 'ATOMIC_AGGREGATE' }), encode: () => {} },
);

const checkAggregator =
  (length: (context: UpdateContext) => 6 | 8): Check =>
  (bytes, start, end, context) => {
    const wanted = length(context);
    if (end - start !== wanted) return wrongLength(`${wanted} bytes`, end - start);
    if (bytes.readUIntBE(start, wanted === 8 ? 4 : 2) !== 0) return undefined;
    return { subcode: UPDATE_SUBCODE.optionalAttribute, message: 'AS 0 is reserved (RFC 7607)' };
  };

const AGGREGATOR = row<'AGGREGATOR'>(
  {
    code: 7,
    name: 'AGGREGATOR',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'attribute-discard',
    wrongFlags: 'treat-as-withdraw',
    check: checkAggregator((context) => (context.asn4 ? 8 : 6)),
  },
  {
    decode: (value, context) => ({
      type: 'AGGREGATOR',
      asn: context.asn4 ? value.u32() : value.u16(),
      address: value.ipv4(),
    }),
    encode: ({ asn, address }, to, context) => {
      if (context.asn4) to.u32(asn);
      else to.u16(twoOctetAs(asn));
      to.u32(address);
    },
  },
);

const COMMUNITIES = row<'COMMUNITIES'>(
  {
    code: 8,
    name: 'COMMUNITIES',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'treat-as-withdraw',
    check: multipleOf(4),
  },
  {
    decode: (value) => ({ type: 'COMMUNITIES', communities: repeat(value, () => value.u32()) }),
    encode: ({ communities }, to) => {
      for (const community of communities) to.u32(community);
    },
  },
);

const ORIGINATOR_ID = row<'ORIGINATOR_ID'>(
  {
    code: 9,
    name: 'ORIGINATOR_ID',
    flags: OPTIONAL,
    malformed: 'treat-as-withdraw',
    internalOnly: true,
    check: exactly(4),
  },
  {
    decode: (value) => ({ type: 'ORIGINATOR_ID', identifier: value.ipv4() }),
    encode: ({ identifier }, to) => to.u32(identifier),
  },
);

const CLUSTER_LIST = row<'CLUSTER_LIST'>(
  {
    code: 10,
    name: 'CLUSTER_LIST',
    flags: OPTIONAL,
    malformed: 'treat-as-withdraw',
    internalOnly: true,
    check: multipleOf(4),
  },
  {
    decode: (value) => ({ type: 'CLUSTER_LIST', clusters: repeat<IPv4>(value, () => value.ipv4()) }),
    encode: ({ clusters }, to) => {
      for (const cluster of clusters) to.u32(cluster);
    },
  },
);

/** MP attributes are checked by the scan, which knows families. */
const MP_REACH_NLRI: AttributeRow = {
  code: 14,
  name: 'MP_REACH_NLRI',
  flags: OPTIONAL,
  malformed: 'treat-as-withdraw',
  check: () => undefined,
};
const MP_UNREACH_NLRI: AttributeRow = { ...MP_REACH_NLRI, code: 15, name: 'MP_UNREACH_NLRI' };

const EXTENDED_COMMUNITIES = row<'EXTENDED_COMMUNITIES'>(
  {
    code: 16,
    name: 'EXTENDED_COMMUNITIES',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'treat-as-withdraw',
    check: multipleOf(8),
  },
  {
    decode: (value) => ({ type: 'EXTENDED_COMMUNITIES', communities: repeat(value, () => value.u64()) }),
    encode: ({ communities }, to) => {
      for (const community of communities) to.u64(community);
    },
  },
);

const AS4_PATH = row<'AS4_PATH'>(
  {
    code: 17,
    name: 'AS4_PATH',
    flags: OPTIONAL_TRANSITIVE,
    // Discarded by RFC 6793 §6, from two-octet speakers. From the others, where it means nothing, a broken one
    // is the trace of a confused speaker: see `malformedAction`.
    malformed: 'attribute-discard',
    wrongFlags: 'treat-as-withdraw',
    check: (bytes, start, end) => {
      if (end === start) return wrongLength('at least 6 bytes', 0);
      return checkAsPath(bytes, start, end, 4, true);
    },
  },
  {
    decode: (value) => ({ type: 'AS4_PATH', segments: decodeAsPath(value, 4) }),
    encode: ({ segments }, to) => writeAsPath(segments, to, 4),
  },
);

const AS4_AGGREGATOR = row<'AS4_AGGREGATOR'>(
  {
    code: 18,
    name: 'AS4_AGGREGATOR',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'attribute-discard',
    wrongFlags: 'treat-as-withdraw',
    check: checkAggregator(() => 8),
  },
  {
    decode: (value) => ({ type: 'AS4_AGGREGATOR', asn: value.u32(), address: value.ipv4() }),
    encode: ({ asn, address }, to) => to.u32(asn).u32(address),
  },
);

const PMSI_TUNNEL = row<'PMSI_TUNNEL'>(
  {
    code: 22,
    name: 'PMSI_TUNNEL',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'treat-as-withdraw',
    check: checkPmsi,
  },
  {
    decode: (value) => ({
      type: 'PMSI_TUNNEL',
      flags: value.u8(),
      tunnelType: value.u8(),
      label: value.u24(),
      identifier: Buffer.from(value.rest()),
    }),
    encode: ({ flags, tunnelType, label, identifier }, to) =>
      to.u8(flags).u8(tunnelType).u24(label).put(identifier),
  },
);

const LARGE_COMMUNITIES = row<'LARGE_COMMUNITIES'>(
  {
    code: 32,
    name: 'LARGE_COMMUNITIES',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'treat-as-withdraw',
    check: multipleOf(12),
  },
  {
    decode: (value) => ({
      type: 'LARGE_COMMUNITIES',
      communities: repeat(value, () => ({
        globalAdministrator: value.u32(),
        localData1: value.u32(),
        localData2: value.u32(),
      })),
    }),
    encode: ({ communities }, to) => {
      for (const { globalAdministrator, localData1, localData2 } of communities) {
        to.u32(globalAdministrator).u32(localData1).u32(localData2);
      }
    },
  },
);

/** Checked, and passed on as bytes. */
const OPAQUE: readonly AttributeRow[] = [
  {
    code: 23,
    name: 'TUNNEL_ENCAPSULATION',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'treat-as-withdraw',
    check: checkTunnelEncapsulation,
  },
  {
    code: 25,
    name: 'IPV6_EXTENDED_COMMUNITIES',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'treat-as-withdraw',
    check: multipleOf(20),
  },
  { code: 26, name: 'AIGP', flags: OPTIONAL, malformed: 'attribute-discard', check: checkAigp },
  { code: 29, name: 'BGP-LS', flags: OPTIONAL, malformed: 'attribute-discard', check: checkLinkState },
  {
    code: 35,
    name: 'ONLY_TO_CUSTOMER',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'treat-as-withdraw',
    check: exactly(4, checkOnlyToCustomer),
  },
  {
    code: 39,
    name: 'NEXT_HOP_CHARACTERISTICS',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'attribute-discard',
    check: checkCharacteristics,
  },
  {
    code: 40,
    name: 'PREFIX_SID',
    flags: OPTIONAL_TRANSITIVE,
    malformed: 'attribute-discard',
    check: checkPrefixSid,
  },
];

export const ATTRIBUTE_ROWS: readonly AttributeRow[] = [
  ORIGIN,
  AS_PATH,
  NEXT_HOP,
  MULTI_EXIT_DISC,
  LOCAL_PREF,
  ATOMIC_AGGREGATE,
  AGGREGATOR,
  COMMUNITIES,
  ORIGINATOR_ID,
  CLUSTER_LIST,
  MP_REACH_NLRI,
  MP_UNREACH_NLRI,
  EXTENDED_COMMUNITIES,
  AS4_PATH,
  AS4_AGGREGATOR,
  PMSI_TUNNEL,
  LARGE_COMMUNITIES,
  ...OPAQUE,
];

/** What a malformed value calls for in this session. */
export function malformedAction(known: AttributeRow, context: UpdateContext): Action {
  // As FRR does; RFC 6793 §4.1 would have it discarded whether broken or not.
  if (known === AS4_PATH && context.asn4) return 'treat-as-withdraw';
  return known.malformed;
}
