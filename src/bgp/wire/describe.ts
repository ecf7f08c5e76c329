import { formatIP } from '../../address/ip.ts';
import { type Capability, capabilityCode } from './capability.ts';
import { describeUpdate } from './describeUpdate.ts';
import type { AfiSafi } from './family.ts';
import type { DecodedMessage } from './message.ts';
import {
  type Notification,
  notificationName,
  shutdownCommunication,
  unwrapHardReset,
} from './notification.ts';
import { asnOf, type Open } from './open.ts';
import { describeFamily, type Plain } from './plain.ts';
import { REFRESH_BEGIN, REFRESH_END, REFRESH_REQUEST, type RouteRefresh } from './refresh.ts';

/** A message for people and programs, its fields named by the RFCs' words. */
export function describeMessage(message: DecodedMessage): Plain {
  switch (message.type) {
    case 'OPEN':
      return describeOpen(message);
    case 'UPDATE':
      return describeUpdate(message);
    case 'NOTIFICATION':
      return describeNotificationFields(message);
    case 'KEEPALIVE':
      return { type: message.type };
    case 'ROUTE-REFRESH':
      return describeRefresh(message);
  }
}

function describeOpen(open: Open): Plain {
  return {
    type: open.type,
    version: 4,
    myAutonomousSystem: open.myAs,
    asn: asnOf(open),
    holdTime: open.holdTime,
    bgpIdentifier: formatIP(open.identifier),
    capabilities: open.capabilities.map(describeCapability),
  };
}

function describeCapability(capability: Capability): Plain {
  const code = capabilityCode(capability);
  switch (capability.name) {
    case 'multiprotocol':
      return { code, name: capability.name, ...describeFamily(capability.family) };
    case 'extended-next-hop':
      return {
        code,
        name: capability.name,
        entries: capability.entries.map(({ family, nextHopAfi }) => ({
          ...describeFamily(family),
          nextHopAfi,
        })),
      };
    case 'graceful-restart':
    case 'add-path':
    case 'long-lived-graceful-restart': {
      const families: readonly ({ readonly family: AfiSafi } & object)[] = capability.families;
      return {
        code,
        ...capability,
        families: families.map(({ family, ...rest }) => ({ ...describeFamily(family), ...rest })),
      };
    }
    case 'unknown':
      return { code, name: capability.name, value: capability.value.toString('hex') };
    default:
      return { code, ...capability };
  }
}

function describeNotificationFields(notification: Notification): Plain {
  const { type, code, subcode, data } = notification;
  const inner = unwrapHardReset(notification);
  const text = shutdownCommunication(notification);
  return {
    type,
    code,
    subcode,
    name: notificationName(notification),
    data: data.toString('hex'),
    ...(inner && { hardReset: { code: inner.code, subcode: inner.subcode, name: notificationName(inner) } }),
    ...(text !== undefined && { shutdownCommunication: text }),
  };
}

const SUBTYPES: ReadonlyMap<number, string> = new Map([
  [REFRESH_REQUEST, 'request'],
  [REFRESH_BEGIN, 'BoRR'],
  [REFRESH_END, 'EoRR'],
]);

function describeRefresh({ type, family, subtype }: RouteRefresh): Plain {
  return { type, ...describeFamily(family), subtype, name: SUBTYPES.get(subtype) ?? `subtype ${subtype}` };
}
