import type { IP } from '../../address/ip.ts';
import { bytesOf, ipFromBytes } from '../../address/ip.ts';
import { macBytes, macFromBytes } from '../../address/mac.ts';
import { networkOf } from '../../address/prefix.ts';
import type { Cursor } from './cursor.ts';
import type { RouteDistinguisher } from './distinguisher.ts';
import type {
  EthernetSegment,
  EvpnNlri,
  InclusiveMulticastNlri,
  IpPrefixNlri,
  MacIpNlri,
  Nlri,
} from './nlri.ts';
import { prefixBits } from './unicast.ts';
import type { Writer } from './writer.ts';

const MAC_IP = 2;
const INCLUSIVE_MULTICAST = 3;
const IP_PREFIX = 5;

const SEGMENT_BYTES = 10;
/** Distinguisher, segment, tag: in front of types 2 and 5. */
const HEAD = 8 + SEGMENT_BYTES + 4;

/** Routes of other types are passed on unread (RFC 7606 §5.4). */
export function checkEvpn(bytes: Buffer, at: number, end: number): number | string {
  if (end - at < 2) return 'an EVPN route is cut off';
  const type = bytes.readUInt8(at);
  const length = bytes.readUInt8(at + 1);
  if (at + 2 + length > end) return `the EVPN route of ${length} bytes is cut off`;
  const value = bytes.subarray(at + 2, at + 2 + length);
  const fits =
    type === MAC_IP
      ? isMacIp(value)
      : type === INCLUSIVE_MULTICAST
        ? isMulticast(value)
        : type === IP_PREFIX
          ? isIpPrefix(value)
          : true;
  return fits ? 2 + length : `the EVPN route of type ${type} and ${length} bytes does not add up`;
}

function isMacIp(value: Buffer): boolean {
  if (value.length < HEAD + 8 || value[HEAD] !== 48) return false;
  const ipBits = value.readUInt8(HEAD + 7);
  const labels = value.length - (HEAD + 8) - ipBits / 8;
  return (ipBits === 0 || ipBits === 32 || ipBits === 128) && (labels === 3 || labels === 6);
}

function isMulticast(value: Buffer): boolean {
  const bits = value[12];
  return (bits === 32 || bits === 128) && value.length === 13 + bits / 8;
}

function isIpPrefix(value: Buffer): boolean {
  const bits = value[HEAD] ?? 255;
  return (value.length === 34 && bits <= 32) || (value.length === 58 && bits <= 128);
}

export function decodeEvpn(cursor: Cursor): EvpnNlri {
  const routeType = cursor.u8();
  const value = cursor.part(cursor.u8());
  switch (routeType) {
    case MAC_IP:
      return decodeMacIp(value);
    case INCLUSIVE_MULTICAST:
      return decodeMulticast(value);
    case IP_PREFIX:
      return decodeIpPrefix(value);
    default:
      return { kind: 'evpn-other', routeType, value: Buffer.from(value.rest()) };
  }
}

function decodeMacIp(value: Cursor): MacIpNlri {
  const head = readHead(value);
  value.u8();
  const mac = macFromBytes(value.take(6));
  const ipBytes = value.u8() / 8;
  const ip = ipBytes === 0 ? undefined : ipFromBytes(value.take(ipBytes));
  const labels = Array.from({ length: value.remaining / 3 }, () => value.u24());
  return { kind: 'evpn-mac-ip', ...head, mac, ...(ip !== undefined && { ip }), labels };
}

function decodeMulticast(value: Cursor): InclusiveMulticastNlri {
  const distinguisher = value.u64() as RouteDistinguisher;
  const tag = value.u32();
  return { kind: 'evpn-multicast', distinguisher, tag, originator: ipFromBytes(value.take(value.u8() / 8)) };
}

function decodeIpPrefix(value: Cursor): IpPrefixNlri {
  const head = readHead(value);
  const length = value.u8();
  const size = (value.remaining - 3) / 2;
  const prefix = networkOf({ address: ipFromBytes(value.take(size)), length });
  return {
    kind: 'evpn-prefix',
    ...head,
    prefix,
    gateway: ipFromBytes(value.take(size)),
    label: value.u24(),
  };
}

function readHead(value: Cursor): {
  distinguisher: RouteDistinguisher;
  segment: EthernetSegment;
  tag: number;
} {
  const distinguisher = value.u64() as RouteDistinguisher;
  const segment = value
    .take(SEGMENT_BYTES)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');
  return { distinguisher, segment, tag: value.u32() };
}

/** @throws {RangeError} If a gateway is not of the prefix's family. */
export function writeEvpn(nlri: Nlri, to: Writer): void {
  switch (nlri.kind) {
    case 'evpn-mac-ip':
      to.u8(MAC_IP).counted(1, () => {
        writeHead(nlri, to).u8(48).put(macBytes(nlri.mac));
        writeCountedIp(nlri.ip, to);
        for (const label of nlri.labels) to.u24(label);
      });
      return;
    case 'evpn-multicast':
      to.u8(INCLUSIVE_MULTICAST).counted(1, () => {
        writeCountedIp(nlri.originator, to.u64(nlri.distinguisher).u32(nlri.tag));
      });
      return;
    case 'evpn-prefix':
      if (bytesOf(nlri.gateway).length * 8 !== prefixBits(nlri.prefix)) {
        throw new RangeError('Cannot write EVPN route: prefix and gateway are of different families');
      }
      to.u8(IP_PREFIX).counted(1, () => {
        writeHead(nlri, to).u8(nlri.prefix.length).ip(nlri.prefix.address).ip(nlri.gateway).u24(nlri.label);
      });
      return;
    case 'evpn-other':
      to.u8(nlri.routeType).counted(1, () => to.put(nlri.value));
      return;
    default:
      throw new TypeError(`Cannot write EVPN route: this is ${nlri.kind}`);
  }
}

function writeHead({ distinguisher, segment, tag }: MacIpNlri | IpPrefixNlri, to: Writer): Writer {
  return to
    .u64(distinguisher)
    .put(Buffer.from(segment.replaceAll(':', ''), 'hex'))
    .u32(tag);
}

function writeCountedIp(ip: IP | undefined, to: Writer): void {
  const bytes = ip === undefined ? Buffer.alloc(0) : bytesOf(ip);
  to.u8(bytes.length * 8).put(bytes);
}
