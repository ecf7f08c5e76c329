/** A peer made of bytes: says what a test tells it to, right or wrong, and reads or does not. */
import { once } from 'node:events';
import { Socket } from 'node:net';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import { openDialSocket } from '../../src/bgp/session/socket.ts';
import type { Router } from './router.ts';

const MARKER = Buffer.alloc(16, 0xff);

export const OPEN = 1;
export const UPDATE = 2;
export const NOTIFICATION = 3;
export const KEEPALIVE = 4;

/** A message with its header; `length` lies about its length. */
export function message(type: number, body: Buffer = Buffer.alloc(0), length = 19 + body.length): Buffer {
  const header = Buffer.alloc(3);
  header.writeUInt16BE(length & 0xffff);
  header.writeUInt8(type, 2);
  return Buffer.concat([MARKER, header, body]);
}

export interface WirePeerOptions {
  readonly asn: number;
  readonly identifier: string;
  /** Seconds. */
  readonly holdTime: number;
  /** Our address, where the router has several. */
  readonly source?: string;
  /** Bytes of capabilities besides multiprotocol IPv4 and four-octet AS. */
  readonly capabilities?: Buffer;
}

export function openMessage({ asn, identifier, holdTime, capabilities }: WirePeerOptions): Buffer {
  const fixed = Buffer.alloc(9);
  fixed.writeUInt8(4);
  fixed.writeUInt16BE(asn > 0xffff ? 23456 : asn, 1);
  fixed.writeUInt16BE(holdTime, 3);
  fixed.writeUInt32BE(Number(parseIP(identifier)), 5);
  const asn4 = Buffer.from([65, 4, 0, 0, 0, 0]);
  asn4.writeUInt32BE(asn, 2);
  const all = Buffer.concat([Buffer.of(1, 4, 0, 1, 0, 1), asn4, capabilities ?? Buffer.alloc(0)]);
  return message(OPEN, Buffer.concat([fixed, Buffer.of(all.length + 2, 2, all.length), all]));
}

/** IPv4 routes of one set of attributes; more attributes, encoded, follow NEXT_HOP. */
export function updateMessage(
  asn: number,
  nextHop: string,
  prefixes: readonly (readonly [string, number])[],
  more: Buffer = Buffer.alloc(0),
): Buffer {
  const path = Buffer.from([0x40, 2, 6, 2, 1, 0, 0, 0, 0]);
  path.writeUInt32BE(asn, 5);
  const hop = Buffer.alloc(7);
  hop.set([0x40, 3, 4]);
  hop.writeUInt32BE(Number(parseIP(nextHop)), 3);
  const attributes = Buffer.concat([Buffer.of(0x40, 1, 1, 0), path, hop, more]);
  const routes = prefixes.map(([address, length]) => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt8(length);
    bytes.writeUInt32BE(Number(parseIP(address)), 1);
    return bytes.subarray(0, 1 + ((length + 7) >> 3));
  });
  const lengths = Buffer.from([0, 0, attributes.length >> 8, attributes.length & 255]);
  return message(UPDATE, Buffer.concat([lengths, attributes, ...routes]));
}

const open = new Set<WirePeer>();

// One that does not read is never told that its namespace has gone, and would keep the process for ever.
after(() => {
  for (const peer of open) peer.socket.destroy();
});

/** One connection, dialled out of a router's namespace. */
export class WirePeer {
  readonly socket: Socket;
  /** The messages received: type and body. */
  readonly heard: { readonly type: number; readonly body: Buffer }[] = [];
  closed = false;
  #rest = Buffer.alloc(0);
  #keepalives: NodeJS.Timeout | undefined;

  constructor(router: Router, target: string, { source }: { source?: string } = {}) {
    const fd = router.namespace.inside(() =>
      openDialSocket(parseIP(target), {
        ttl: 255,
        minimumTtl: 0,
        ...(source !== undefined && { sourceAddress: parseIP(source) }),
      }),
    );
    this.socket = new Socket({ fd });
    open.add(this);
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
      open.delete(this);
      clearInterval(this.#keepalives);
    });
    this.socket.on('data', (bytes) => this.#read(bytes));
    this.socket.connect({ host: target, port: 179 });
  }

  /** Says OPEN, and KEEPALIVE ever after. Resolves when the other side has, too, or has gone. */
  async establish(options: WirePeerOptions): Promise<this> {
    if (this.socket.connecting) await once(this.socket, 'connect').catch(() => {});
    this.socket.write(Buffer.concat([openMessage(options), message(KEEPALIVE)]));
    if (options.holdTime > 0) {
      const every = (options.holdTime * 1000) / 3;
      this.#keepalives = setInterval(() => this.socket.write(message(KEEPALIVE)), every);
    }
    while (!this.closed && !this.heard.some(({ type }) => type === KEEPALIVE)) await sleep(2);
    return this;
  }

  /** Code and subcode of the NOTIFICATION received, and what it carries. */
  get notification(): { readonly code: number; readonly subcode: number; readonly data: Buffer } | undefined {
    const body = this.heard.find(({ type }) => type === NOTIFICATION)?.body;
    return body && { code: body[0] ?? 0, subcode: body[1] ?? 0, data: body.subarray(2) };
  }

  close(): void {
    this.socket.resetAndDestroy();
  }

  #read(bytes: Buffer): void {
    let all = Buffer.concat([this.#rest, bytes]);
    while (all.length >= 19 && all.length >= all.readUInt16BE(16)) {
      const length = all.readUInt16BE(16);
      this.heard.push({ type: all.readUInt8(18), body: Buffer.from(all.subarray(19, length)) });
      all = all.subarray(length);
    }
    this.#rest = all;
  }
}
