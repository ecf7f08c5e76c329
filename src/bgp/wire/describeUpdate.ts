import { formatIP } from '../../address/ip.ts';
import { formatPrefix } from '../../address/prefix.ts';
import { mergeAs4Path } from './asPath.ts';
import { type Attribute, findAttribute, type NextHop, type Segment } from './attribute.ts';
import { attributeFlags, attributeName, codeOf } from './attributeCodec.ts';
import { FLAG_OPTIONAL, FLAG_PARTIAL, FLAG_TRANSITIVE } from './attributeRow.ts';
import { formatCommunity, formatExtendedCommunity, formatLargeCommunity } from './community.ts';
import { formatDistinguisher } from './distinguisher.ts';
import { familyName } from './family.ts';
import type { InclusiveMulticastNlri, IpPrefixNlri, MacIpNlri, Nlri, PathIdentified } from './nlri.ts';
import { UPDATE_ERROR } from './notification.ts';
import { describeError, describeFamily, type Plain } from './plain.ts';
import type { Reason } from './reason.ts';
import type { DecodedUpdate, Update } from './update.ts';

/** What was understood, and RFC 7606's verdict. */
export function describeUpdate({ update, action, reasons, disabled, endOfRib }: DecodedUpdate): Plain {
  const worst = reasons.find((reason) => reason.action === 'session-reset');
  return {
    type: 'UPDATE',
    ...describeRoutesAndAttributes(update),
    ...(endOfRib !== undefined && { endOfRib: familyName(endOfRib) }),
    errorHandling: {
      action: action ?? 'none',
      ...(disabled.length > 0 && { disabled: disabled.map(familyName) }),
      reasons: reasons.map(describeReason),
    },
    ...(worst && { error: describeError({ ...worst, code: UPDATE_ERROR }) }),
  };
}

function describeReason({ action, subcode, attribute, offset, message, data }: Reason): Plain {
  return {
    action,
    code: UPDATE_ERROR,
    subcode,
    ...(attribute !== undefined && { attribute, attributeName: attributeName(attribute) }),
    offset,
    message,
    data: data.toString('hex'),
  };
}

function describeRoutesAndAttributes({ withdrawn, attributes, nlri }: Update): Plain {
  const path = findAttribute(attributes, 'AS_PATH');
  const as4Path = findAttribute(attributes, 'AS4_PATH');
  const aggregator = findAttribute(attributes, 'AGGREGATOR');
  const merged = as4Path && path && mergeAs4Path(path.segments, as4Path.segments, aggregator?.asn);
  return {
    withdrawnRoutes: withdrawn.map(describeRoute),
    pathAttributes: attributes.map(describeAttribute),
    nlri: nlri.map(describeRoute),
    ...(path && { asPath: formatAsPath(merged ?? path.segments) }),
  };
}

function describeAttribute(attribute: Attribute): Plain {
  const code = codeOf(attribute);
  const flags = attributeFlags(attribute);
  return {
    code,
    name: attributeName(code),
    optional: (flags & FLAG_OPTIONAL) !== 0,
    transitive: (flags & FLAG_TRANSITIVE) !== 0,
    partial: (flags & FLAG_PARTIAL) !== 0,
    ...(attribute.type === 'UNKNOWN' && { flags }),
    value: describeValue(attribute),
  };
}

function describeValue(attribute: Attribute): unknown {
  switch (attribute.type) {
    case 'ORIGIN':
      return attribute.origin;
    case 'AS_PATH':
    case 'AS4_PATH':
      return attribute.segments;
    case 'NEXT_HOP':
      return formatIP(attribute.address);
    case 'MULTI_EXIT_DISC':
    case 'LOCAL_PREF':
      return attribute.value;
    case 'ATOMIC_AGGREGATE':
      return true;
    case 'AGGREGATOR':
    case 'AS4_AGGREGATOR':
      return { asn: attribute.asn, address: formatIP(attribute.address) };
    case 'COMMUNITIES':
      return attribute.communities.map(formatCommunity);
    case 'ORIGINATOR_ID':
      return formatIP(attribute.identifier);
    case 'CLUSTER_LIST':
      return attribute.clusters.map(formatIP);
    case 'MP_REACH_NLRI':
      return {
        ...describeFamily(attribute.family),
        nextHop: describeNextHop(attribute.nextHop),
        nlri: attribute.nlri.map(describeRoute),
      };
    case 'MP_UNREACH_NLRI':
      return { ...describeFamily(attribute.family), withdrawnRoutes: attribute.nlri.map(describeRoute) };
    case 'EXTENDED_COMMUNITIES':
      return attribute.communities.map(formatExtendedCommunity);
    case 'PMSI_TUNNEL': {
      const { flags, tunnelType, label, identifier } = attribute;
      return { flags, tunnelType, label, identifier: identifier.toString('hex') };
    }
    case 'LARGE_COMMUNITIES':
      return attribute.communities.map(formatLargeCommunity);
    case 'UNKNOWN':
      return attribute.value.toString('hex');
  }
}

/** One address, two with a link-local one, or hex for a family not known here. */
function describeNextHop(nextHop: NextHop | Buffer): string | string[] {
  if (Buffer.isBuffer(nextHop)) return nextHop.toString('hex');
  const { address, linkLocal } = nextHop;
  return linkLocal === undefined ? formatIP(address) : [formatIP(address), formatIP(linkLocal)];
}

/** `65001 65002 {65003 65004} (65005)`: sets in braces, confederations in parentheses or brackets. */
function formatAsPath(segments: readonly Segment[]): string {
  const [open, close] = [
    { AS_SEQUENCE: '', AS_SET: '{', AS_CONFED_SEQUENCE: '(', AS_CONFED_SET: '[' },
    { AS_SEQUENCE: '', AS_SET: '}', AS_CONFED_SEQUENCE: ')', AS_CONFED_SET: ']' },
  ];
  return segments.map(({ type, asns }) => `${open[type]}${asns.join(' ')}${close[type]}`).join(' ');
}

/** Every field of a route by name; what has a textual form as text. */
export function describeRoute(nlri: Nlri): Plain {
  const { pathId } = nlri as PathIdentified;
  return { ...describeRouteFields(nlri), ...(pathId !== undefined && { pathId }) };
}

function describeRouteFields(nlri: Nlri): Plain {
  switch (nlri.kind) {
    case 'prefix':
      return { prefix: formatPrefix(nlri.prefix) };
    case 'vpn': {
      const { labels, distinguisher, prefix } = nlri;
      return {
        prefix: formatPrefix(prefix),
        routeDistinguisher: formatDistinguisher(distinguisher),
        labels,
      };
    }
    case 'evpn-mac-ip':
      return {
        routeType: 2,
        ...describeEvpnHead(nlri),
        mac: nlri.mac,
        ...(nlri.ip !== undefined && { ip: formatIP(nlri.ip) }),
        labels: nlri.labels,
      };
    case 'evpn-multicast':
      return { routeType: 3, ...describeEvpnHead(nlri), originator: formatIP(nlri.originator) };
    case 'evpn-prefix':
      return {
        routeType: 5,
        ...describeEvpnHead(nlri),
        prefix: formatPrefix(nlri.prefix),
        gateway: formatIP(nlri.gateway),
        label: nlri.label,
      };
    case 'evpn-other':
      return { routeType: nlri.routeType, value: nlri.value.toString('hex') };
    case 'route-target': {
      const { length, originAs, target } = nlri;
      if (length === 96) return { length, originAs, routeTarget: formatExtendedCommunity(target) };
      return { length, originAs, routeTargetPrefix: `0x${target.toString(16).padStart(16, '0')}` };
    }
    case 'opaque':
      return { value: nlri.value.toString('hex') };
  }
}

function describeEvpnHead(nlri: MacIpNlri | InclusiveMulticastNlri | IpPrefixNlri): Plain {
  return {
    routeDistinguisher: formatDistinguisher(nlri.distinguisher),
    ...('segment' in nlri && { ethernetSegment: nlri.segment }),
    ethernetTag: nlri.tag,
  };
}
