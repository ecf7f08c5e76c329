import { createHash } from 'node:crypto';
import { type Family, familyOf, type IP, parseIP } from '../address/ip.ts';
import { type Mac, macFromBytes, parseMac } from '../address/mac.ts';
import {
  contains,
  hostPrefix,
  type InterfaceAddress,
  networkOf,
  type Prefix,
  parsePrefix,
} from '../address/prefix.ts';
import type { AttachmentSpec, PodAddress } from './attachment.ts';

/** What an interface is to carry: pure, so that ADD makes it and CHECK compares with it. */
export interface InterfacePlan {
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly PlannedRoute[];
  readonly neighbours: readonly { readonly address: IP; readonly mac: Mac }[];
}

export interface PlannedRoute {
  readonly prefix: Prefix;
  readonly gateway?: IP | undefined;
  readonly preferredSource?: IP | undefined;
}

/** Nobody has these; a permanent neighbour says where they are, so nobody ever asks. */
export const LINK_GATEWAY = { 4: parseIP('169.254.1.1'), 6: parseIP('fe80::1') } as const;

/** Where no gateway is known: a frame to it is meant to be readdressed by the egress hook. */
export const NOBODYS_MAC = parseMac('02:74:62:6f:00:01');

const DEFAULT_PREFIX = { 4: parsePrefix('0.0.0.0/0'), 6: parsePrefix('::/0') } as const;

/** The pod's end of a veth pair: host prefixes, everything else by way of the host end. */
export function planVethPod(spec: AttachmentSpec, hostMac: Mac): InterfacePlan {
  const addresses = spec.addresses.map(({ address }) => hostPrefix(address.address));
  const byLink = families(spec).map((family) => ({ family, gateway: LINK_GATEWAY[family] }));
  return {
    addresses,
    routes: routesOf(spec, byLink),
    neighbours: byLink.map(({ gateway }) => ({ address: gateway, mac: hostMac })),
  };
}

/** The node's end: the pod's addresses are behind it. */
export function planVethHost(spec: AttachmentSpec, podMac: Mac): InterfacePlan {
  const pods = spec.addresses.map(({ address }) => address.address);
  return {
    addresses: [],
    routes: pods.map((address) => ({ prefix: hostPrefix(address) })),
    neighbours: pods.map((address) => ({ address, mac: podMac })),
  };
}

/** A device on the physical network: addresses in their networks, out by the gateway if there is one. */
export function planNic(spec: AttachmentSpec): InterfacePlan {
  const gateways = families(spec).map((family) => ({ family, gateway: gatewayOf(spec.addresses, family) }));
  const unknown = gateways.filter(({ gateway }) => gateway === undefined).map(({ family }) => family);
  const byLink = gateways.map(({ family, gateway = LINK_GATEWAY[family] }) => ({ family, gateway }));
  return {
    addresses: spec.addresses.map(({ address }) => address),
    routes: routesOf(spec, byLink),
    neighbours: unknown.map((family) => ({ address: LINK_GATEWAY[family], mac: NOBODYS_MAC })),
  };
}

/** Whether the kernel would refuse the gateway for being in none of the interface's networks. */
export function isOffLink(gateway: IP, addresses: readonly InterfaceAddress[]): boolean {
  return !addresses.some((address) => contains(networkOf(address), gateway));
}

/** The same for the same attachment, so that it is known before there is a link; RFC 7042 §2.1: unicast, local. */
export function derivedMac(id: string, end: 'host' | 'pod'): Mac {
  const bytes = createHash('sha256').update(`${id}/${end}`).digest().subarray(0, 6);
  bytes.writeUInt8((bytes.readUInt8(0) & 0xfc) | 0x02, 0);
  return macFromBytes(bytes);
}

interface FamilyGateway {
  readonly family: Family;
  readonly gateway: IP;
}

function routesOf(spec: AttachmentSpec, gateways: readonly FamilyGateway[]): PlannedRoute[] {
  const defaults = gateways.map(({ family, gateway }) => ({
    prefix: DEFAULT_PREFIX[family],
    gateway,
    preferredSource: sourceOf(spec, family),
  }));
  const others = spec.routes.map(({ prefix, via }) => {
    const family = familyOf(prefix.address);
    const gateway = via ?? gateways.find((known) => known.family === family)?.gateway;
    return { prefix, gateway, preferredSource: sourceOf(spec, family) };
  });
  return [...defaults, ...others];
}

/** With one address of a family there is nothing to choose. */
function sourceOf({ addresses }: AttachmentSpec, family: Family): IP | undefined {
  const own = addresses.filter(({ address }) => familyOf(address.address) === family);
  return own.length > 1 ? own[0]?.address.address : undefined;
}

function families({ addresses }: AttachmentSpec): Family[] {
  return ([4, 6] as const).filter((family) =>
    addresses.some(({ address }) => familyOf(address.address) === family),
  );
}

function gatewayOf(addresses: readonly PodAddress[], family: Family): IP | undefined {
  return addresses.find(
    ({ address, gateway }) => gateway !== undefined && familyOf(address.address) === family,
  )?.gateway;
}
