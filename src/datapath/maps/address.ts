import type { IP, IPv4, IPv6 } from '../../address/ip.ts';
import type { Codec } from '../../ebpf/codec.ts';

/** Of no address: all 16 bytes zero. */
export const NO_ADDRESS = 0n as IPv6;

/** 16 bytes in network order, IPv4 as ::ffff:a.b.c.d: an address of either family. */
export const address: Codec<IP> = {
  size: 16,
  write: (bytes, offset, ip) => {
    if (typeof ip === 'number') {
      bytes.fill(0, offset, offset + 10);
      bytes.writeUInt16BE(0xffff, offset + 10);
      bytes.writeUInt32BE(ip, offset + 12);
      return;
    }
    bytes.writeBigUInt64BE(ip >> 64n, offset);
    bytes.writeBigUInt64BE(ip & 0xffffffffffffffffn, offset + 8);
  },
  read: (bytes, offset) => {
    const mapped =
      bytes.readUInt32BE(offset) === 0 &&
      bytes.readUInt32BE(offset + 4) === 0 &&
      bytes.readUInt32BE(offset + 8) === 0xffff;
    if (mapped) return bytes.readUInt32BE(offset + 12) as IPv4;
    return ((bytes.readBigUInt64BE(offset) << 64n) | bytes.readBigUInt64BE(offset + 8)) as IPv6;
  },
};

/** 4 bytes in network order; zeros where there is none. */
export const ipv4OrNone: Codec<IPv4 | undefined> = {
  size: 4,
  write: (bytes, offset, ip) => void bytes.writeUInt32BE(ip ?? 0, offset),
  read: (bytes, offset) => (bytes.readUInt32BE(offset) || undefined) as IPv4 | undefined,
};
