/**
 * Builds and takes apart packets, checksums included, from the RFCs and not from the C headers: what the eBPF programs
 * do is held against it.
 */

import { bytesOf, formatIP, type IP, ipFromBytes, parseIP } from '../../src/address/ip.ts';

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmp6: 58, sctp: 132 } as const;

/** What lies behind the IP header. `bytes` is called with the pseudo header's sum over both addresses. */
export interface Transport {
  readonly protocol: number;
  readonly bytes: (ends: Ends) => Buffer;
}

interface Ends {
  readonly source: IP;
  readonly destination: IP;
}

export interface Fragment {
  readonly identification: number;
  /** Bytes, a multiple of eight. */
  readonly offset: number;
  readonly more: boolean;
}

export interface PacketFields {
  readonly source: string;
  readonly destination: string;
  readonly transport: Transport;
  /** @default 64 */
  readonly ttl?: number;
  /** IPv4 options, a multiple of four bytes. */
  readonly options?: Buffer;
  /** IPv6 extension headers before the fragment header: type and body, which with two bytes more is a multiple of eight. */
  readonly extensions?: readonly { readonly type: number; readonly body: Buffer }[];
  readonly fragment?: Fragment;
  /** IPv4: do not fragment. */
  readonly unfragmented?: boolean;
}

export interface FrameFields extends PacketFields {
  /** @default 02:00:00:00:00:aa */
  readonly sourceMac?: string;
  /** @default 02:00:00:00:00:bb */
  readonly destinationMac?: string;
  /** 802.1Q tags in the frame, outermost first. */
  readonly vlans?: readonly number[];
}

// --- transports ---

export interface TcpFields {
  readonly from: number;
  readonly to: number;
  /** As tcpdump prints them: `S`, `S.`, `.`, `P.`, `F.`, `R`, `R.`. */
  readonly flags?: string;
  readonly seq?: number;
  readonly ack?: number;
  readonly window?: number;
  readonly payload?: Buffer | string;
}

const TCP_FLAGS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, '.': 16, U: 32 };

export function tcp(fields: TcpFields): Transport {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(fields.from, 0);
  header.writeUInt16BE(fields.to, 2);
  header.writeUInt32BE(fields.seq ?? 1000, 4);
  header.writeUInt32BE(fields.ack ?? 0, 8);
  header[12] = 5 << 4;
  header[13] = [...(fields.flags ?? 'S')].reduce((bits, letter) => bits | (TCP_FLAGS[letter] ?? 0), 0);
  header.writeUInt16BE(fields.window ?? 0, 14);
  const segment = Buffer.concat([header, Buffer.from(fields.payload ?? '')]);
  return { protocol: PROTOCOL.tcp, bytes: (ends) => summed(segment, 16, PROTOCOL.tcp, ends) };
}

export interface UdpFields {
  readonly from: number;
  readonly to: number;
  readonly payload?: Buffer | string;
  /** IPv4 allows to leave it out. */
  readonly checksum?: 'none';
}

export function udp(fields: UdpFields): Transport {
  const payload = Buffer.from(fields.payload ?? '');
  const datagram = Buffer.concat([Buffer.alloc(8), payload]);
  datagram.writeUInt16BE(fields.from, 0);
  datagram.writeUInt16BE(fields.to, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  return {
    protocol: PROTOCOL.udp,
    bytes: (ends) => {
      if (fields.checksum === 'none') return datagram;
      const whole = summed(datagram, 6, PROTOCOL.udp, ends);
      if (whole.readUInt16BE(6) === 0) whole.writeUInt16BE(0xffff, 6);
      return whole;
    },
  };
}

/** The common header and nothing else; the checksum is CRC32c, which covers no address. */
export function sctp(fields: { from: number; to: number; payload?: Buffer | string }): Transport {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(fields.from, 0);
  header.writeUInt16BE(fields.to, 2);
  header.writeUInt32BE(0xdecafbad, 4);
  const packet = Buffer.concat([header, Buffer.from(fields.payload ?? '')]);
  packet.writeUInt32LE(crc32c(packet), 8);
  return { protocol: PROTOCOL.sctp, bytes: () => packet };
}

/** An ICMP or ICMPv6 message. `rest` are bytes 4 to 7. */
export function icmp(family: 4 | 6, type: number, code: number, rest: number, body: Buffer): Transport {
  const message = Buffer.concat([Buffer.alloc(8), body]);
  message[0] = type;
  message[1] = code;
  message.writeUInt32BE(rest, 4);
  if (family === 6) {
    return { protocol: PROTOCOL.icmp6, bytes: (ends) => summed(message, 2, PROTOCOL.icmp6, ends) };
  }
  return {
    protocol: PROTOCOL.icmp,
    bytes: () => {
      message.writeUInt16BE(0, 2);
      message.writeUInt16BE(checksum(message), 2);
      return message;
    },
  };
}

/** Bytes as they are: a later fragment, or nonsense. */
export function raw(protocol: number, bytes: Buffer): Transport {
  return { protocol, bytes: () => bytes };
}

// --- packets and frames ---

export function packet(fields: PacketFields): Buffer {
  const ends = { source: parseIP(fields.source), destination: parseIP(fields.destination) };
  const body = fields.transport.bytes(ends);
  return typeof ends.source === 'number' ? ipv4(fields, ends, body) : ipv6(fields, ends, body);
}

export function frame(fields: FrameFields): Buffer {
  const macs = [fields.destinationMac ?? '02:00:00:00:00:bb', fields.sourceMac ?? '02:00:00:00:00:aa'];
  const type = fields.source.includes(':') ? 0x86dd : 0x0800;
  const tags = (fields.vlans ?? []).flatMap((vlan) => [0x8100, vlan]);
  return Buffer.concat([
    ...macs.map((mac) => Buffer.from(mac.replaceAll(':', ''), 'hex')),
    ...[...tags, type].map(word16),
    packet(fields),
  ]);
}

/** The fragments of a packet, in order: `size` bytes of what lies behind the IP header in each but the last. */
export function fragmentsOf(fields: FrameFields, size: number, identification: number): Buffer[] {
  const ends = { source: parseIP(fields.source), destination: parseIP(fields.destination) };
  const body = fields.transport.bytes(ends);
  const offsets = Array.from({ length: Math.ceil(body.length / size) }, (_, index) => index * size);
  return offsets.map((offset) =>
    frame({
      ...fields,
      transport: raw(fields.transport.protocol, body.subarray(offset, offset + size)),
      fragment: { identification, offset, more: offset + size < body.length },
    }),
  );
}

function ipv4(fields: PacketFields, ends: Ends, body: Buffer): Buffer {
  const options = fields.options ?? Buffer.alloc(0);
  const header = Buffer.concat([Buffer.alloc(12), bytesOf(ends.source), bytesOf(ends.destination), options]);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(header.length + body.length, 2);
  const { fragment } = fields;
  header.writeUInt16BE(fragment?.identification ?? 0, 4);
  const place = fragment ? fragment.offset / 8 + (fragment.more ? 0x2000 : 0) : 0;
  header.writeUInt16BE(place + (fields.unfragmented ? 0x4000 : 0), 6);
  header[8] = fields.ttl ?? 64;
  header[9] = fields.transport.protocol;
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, body]);
}

const FRAGMENT_HEADER = 44;

function ipv6(fields: PacketFields, ends: Ends, body: Buffer): Buffer {
  const extensions = [...(fields.extensions ?? [])];
  const { fragment } = fields;
  const types = [
    ...extensions.map(({ type }) => type),
    ...(fragment ? [FRAGMENT_HEADER] : []),
    fields.transport.protocol,
  ];
  const bodies = extensions.map(({ body }, index) =>
    Buffer.concat([Buffer.from([types[index + 1] ?? 0, (body.length + 2) / 8 - 1]), body]),
  );
  if (fragment) {
    const header = Buffer.alloc(8);
    header[0] = fields.transport.protocol;
    header.writeUInt16BE(fragment.offset + (fragment.more ? 1 : 0), 2);
    header.writeUInt32BE(fragment.identification, 4);
    bodies.push(header);
  }
  const rest = Buffer.concat([...bodies, body]);
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(rest.length, 4);
  header[6] = types[0] ?? 0;
  header[7] = fields.ttl ?? 64;
  return Buffer.concat([header, bytesOf(ends.source), bytesOf(ends.destination), rest]);
}

// --- checksums ---

/** The Internet checksum of RFC 1071, with an odd byte padded. */
export function checksum(...parts: Buffer[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += 2) sum += ((part[at] ?? 0) << 8) | (part[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/** RFC 9293 §3.1 and RFC 8200 §8.1; both sum up to the same. */
function pseudoHeader({ source, destination }: Ends, protocol: number, length: number): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(length, 0);
  tail[7] = protocol;
  return Buffer.concat([bytesOf(source), bytesOf(destination), tail]);
}

function summed(bytes: Buffer, at: number, protocol: number, ends: Ends): Buffer {
  const whole = Buffer.from(bytes);
  whole.writeUInt16BE(0, at);
  whole.writeUInt16BE(checksum(pseudoHeader(ends, protocol, whole.length), whole), at);
  return whole;
}

function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function word16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

// --- taking apart ---

/**
 * A frame in words, for comparisons that fail readably: addresses, ports, flags, what lies inside ICMP errors, and every
 * checksum that does not hold.
 */
export function describe(bytes: Buffer): string {
  const mac = (at: number) => bytes.toString('hex', at, at + 6).replace(/(..)(?=.)/g, '$1:');
  let at = 12;
  const tags = [];
  for (; bytes.readUInt16BE(at) === 0x8100; at += 4) tags.push(` vlan ${bytes.readUInt16BE(at + 2)}`);
  return `${mac(6)} > ${mac(0)}${tags.join('')} ${describePacket(bytes.subarray(at + 2), 'whole')}`;
}

function describePacket(bytes: Buffer, extent: 'whole' | 'quoted'): string {
  return (bytes[0] ?? 0) >> 4 === 4 ? describeIPv4(bytes, extent) : describeIPv6(bytes, extent);
}

function describeIPv4(bytes: Buffer, extent: 'whole' | 'quoted'): string {
  const length = ((bytes[0] ?? 0) & 15) * 4;
  const ends = {
    source: ipFromBytes(bytes.subarray(12, 16)),
    destination: ipFromBytes(bytes.subarray(16, 20)),
  };
  const place = bytes.readUInt16BE(6) & 0x3fff;
  const fragment = place
    ? ` fragment ${bytes.readUInt16BE(4)}@${(place & 0x1fff) * 8}${place & 0x2000 ? '+' : ''}`
    : '';
  const bad = checksum(bytes.subarray(0, length)) === 0 ? '' : ' (bad header checksum)';
  const end = extent === 'whole' ? bytes.readUInt16BE(2) : bytes.length;
  const rest = bytes.subarray(length, end);
  const options = length > 20 ? ` options ${bytes.toString('hex', 20, length)}` : '';
  const inner = describeTransport(
    bytes[9] ?? 0,
    rest,
    ends,
    place !== 0 || extent === 'quoted',
    (place & 0x1fff) !== 0,
  );
  return `${formatIP(ends.source)} > ${formatIP(ends.destination)} ttl ${bytes[8]}${options}${fragment}${bad} ${inner}`;
}

function describeIPv6(bytes: Buffer, extent: 'whole' | 'quoted'): string {
  const ends = {
    source: ipFromBytes(bytes.subarray(8, 24)),
    destination: ipFromBytes(bytes.subarray(24, 40)),
  };
  let next = bytes[6] ?? 0;
  let at = 40;
  let words = '';
  let partial = extent === 'quoted';
  let later = false;
  while (next === 0 || next === 43 || next === FRAGMENT_HEADER || next === 60) {
    if (next === FRAGMENT_HEADER) {
      const place = bytes.readUInt16BE(at + 2);
      partial ||= place !== 0;
      later = place >> 3 !== 0;
      words += ` fragment ${bytes.readUInt32BE(at + 4)}@${place & ~7}${place & 1 ? '+' : ''}`;
    } else words += ` extension ${next}`;
    const length = next === FRAGMENT_HEADER ? 8 : ((bytes[at + 1] ?? 0) + 1) * 8;
    next = bytes[at] ?? 0;
    at += length;
  }
  const end = extent === 'whole' ? 40 + bytes.readUInt16BE(4) : bytes.length;
  const inner = describeTransport(next, bytes.subarray(at, end), ends, partial, later);
  return `${formatIP(ends.source)} > ${formatIP(ends.destination)} ttl ${bytes[7]}${words} ${inner}`;
}

function describeTransport(
  protocol: number,
  bytes: Buffer,
  ends: Ends,
  partial: boolean,
  later: boolean,
): string {
  const hex = (from: number) => bytes.toString('hex', from);
  if (later) return `part of ${protocol} ${hex(0)}`;
  if (bytes.length < 8) return `cut short ${protocol} ${hex(0)}`;
  const off = partial || checksum(pseudoHeader(ends, protocol, bytes.length), bytes) === 0;
  const bad = off ? '' : ' (bad checksum)';
  const ports = () => `${bytes.readUInt16BE(0)} > ${bytes.readUInt16BE(2)}`;
  switch (protocol) {
    case PROTOCOL.tcp:
      if (bytes.length < 20) return `tcp ${ports()} ${hex(4)}`;
      return `tcp ${ports()} ${flagLetters(bytes[13] ?? 0)} seq ${bytes.readUInt32BE(4)} ack ${bytes.readUInt32BE(8)} ${hex(14)}${bad}`;
    case PROTOCOL.udp:
      return `udp ${ports()} ${hex(4)}${bytes.readUInt16BE(6) === 0 ? '' : bad}`;
    case PROTOCOL.sctp:
      return `sctp ${ports()} ${hex(4)}`;
    case PROTOCOL.icmp:
    case PROTOCOL.icmp6:
      return describeIcmp(
        protocol,
        bytes,
        protocol === PROTOCOL.icmp6 ? bad : checksum(bytes) === 0 || partial ? '' : ' (bad checksum)',
      );
    default:
      return `protocol ${protocol} ${hex(0)}`;
  }
}

function describeIcmp(protocol: number, bytes: Buffer, bad: string): string {
  const type = bytes[0] ?? 0;
  const quotes = protocol === PROTOCOL.icmp ? [3, 4, 11, 12].includes(type) : type < 128;
  const rest = bytes.subarray(8);
  const body = quotes ? `about [${describePacket(rest, 'quoted')}]` : rest.toString('hex');
  return `icmp ${type}/${bytes[1]} ${bytes.readUInt32BE(4)}${bad} ${body}`;
}

function flagLetters(bits: number): string {
  return Object.entries(TCP_FLAGS)
    .filter(([, bit]) => bits & bit)
    .map(([letter]) => letter)
    .join('');
}
