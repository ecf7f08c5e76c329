/**
 * Peers made of nothing but wire bytes, for measuring speakers: they announce what they are told to, count what they
 * hear, and cost so little that the speaker is what is measured. Runs as a process of its own; its one argument is
 * a {@link Task} as JSON, its output one line of JSON.
 */
import { createConnection, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type Task =
  | {
      /** One peer announces a table, another receives it. */
      readonly kind: 'table';
      readonly target: string;
      readonly prefixes: number;
      /** Different sets of path attributes; the prefixes of a set share an UPDATE. */
      readonly sets: number;
      readonly holdTime: number;
      readonly limit: number;
    }
  | {
      /** Each of many clients of a reflector announces one prefix and hears of all others; then one of them dies. */
      readonly kind: 'reflect';
      readonly target: string;
      readonly clients: number;
      readonly limit: number;
    };

export interface TableResult {
  /** From the first byte sent to the last prefix heard, ms. */
  readonly milliseconds: number;
  readonly updates: number;
  readonly prefixes: number;
  readonly sessionsLost: number;
}

export interface ReflectResult {
  /** From the first connection to the last prefix heard by the last client, ms. */
  readonly milliseconds: number;
  readonly established: number;
  /** From the end of one session until the last of the others has heard of it, ms. */
  readonly withdrawal: number;
  readonly updates: number;
  readonly complete: boolean;
}

const MARKER = Buffer.alloc(16, 0xff);

class Peer {
  readonly #socket: Socket;
  readonly #open: Buffer;
  #rest: Buffer = Buffer.alloc(0);
  #keepalives: NodeJS.Timeout | undefined;
  announced = 0;
  withdrawn = 0;
  updates = 0;
  lost = false;
  isUp = false;
  onUp: () => void = () => {};
  onRoutes: () => void = () => {};
  readonly connected: Promise<void>;

  constructor(target: string, local: string, asn: number, holdTime: number) {
    this.#open = openMessage(asn, holdTime, local);
    this.#socket = createConnection({ host: target, port: 179, localAddress: local });
    this.#socket.setNoDelay(true);
    this.connected = new Promise((resolve) => this.#socket.once('connect', resolve));
    this.#socket.on('connect', () => this.#socket.write(this.#open));
    this.#socket.on('data', (bytes) => this.#read(bytes));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.lost = true;
      clearInterval(this.#keepalives);
    });
    const every = Math.max(1, holdTime / 3) * 1000;
    this.#keepalives = setInterval(() => this.isUp && this.#socket.write(message(4)), every);
  }

  write(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => this.#socket.write(bytes, () => resolve()));
  }

  die(): void {
    clearInterval(this.#keepalives);
    this.#socket.resetAndDestroy();
  }

  #read(bytes: Buffer): void {
    const all = this.#rest.length > 0 ? Buffer.concat([this.#rest, bytes]) : bytes;
    let at = 0;
    const before = this.announced + this.withdrawn;
    while (at + 19 <= all.length) {
      const length = (all[at + 16] as number) * 256 + (all[at + 17] as number);
      if (at + length > all.length) break;
      this.#handle(all, at, at + length);
      at += length;
    }
    this.#rest = at < all.length ? all.subarray(at) : Buffer.alloc(0);
    if (this.announced + this.withdrawn !== before) this.onRoutes();
  }

  #handle(bytes: Buffer, start: number, end: number): void {
    const type = bytes[start + 18];
    if (type === 1) this.#socket.write(message(4));
    else if (type === 4 && !this.isUp) {
      this.isUp = true;
      this.onUp();
    } else if (type === 2) {
      const withdrawn = bytes.readUInt16BE(start + 19);
      const attributes = start + 23 + withdrawn + bytes.readUInt16BE(start + 21 + withdrawn);
      this.withdrawn += countRoutes(bytes, start + 21, start + 21 + withdrawn);
      const announced = countRoutes(bytes, attributes, end);
      this.announced += announced;
      if (announced > 0) this.updates++;
    }
  }
}

function countRoutes(bytes: Buffer, start: number, end: number): number {
  let count = 0;
  for (let at = start; at < end; count++) at += 1 + (((bytes[at] as number) + 7) >>> 3);
  return count;
}

function message(type: number, ...body: Buffer[]): Buffer {
  const header = Buffer.alloc(3);
  header.writeUInt16BE(19 + body.reduce((sum, { length }) => sum + length, 0));
  header[2] = type;
  return Buffer.concat([MARKER, header, ...body]);
}

function openMessage(asn: number, holdTime: number, local: string): Buffer {
  const fixed = Buffer.from([4, asn >> 8, asn & 255, holdTime >> 8, holdTime & 255, ...octets(local)]);
  const capabilities = Buffer.from([1, 4, 0, 1, 0, 1, 65, 4, 0, 0, asn >> 8, asn & 255]);
  return message(1, fixed, Buffer.from([2 + capabilities.length, 2, capabilities.length]), capabilities);
}

function octets(address: string): number[] {
  return address.split('.').map(Number);
}

function update(
  asn: number,
  path: readonly number[],
  nextHop: string,
  community: number,
  nlri: Buffer,
): Buffer {
  const asns = path.flatMap((as) => [0, 0, as >> 8, as & 255]);
  const internal = asn === 64512 ? [0x40, 5, 4, 0, 0, 0, 100] : [];
  const attributes = Buffer.from([
    ...[0x40, 1, 1, 0, 0x40, 2],
    ...(path.length > 0 ? [2 + asns.length, 2, path.length, ...asns] : [0]),
    ...[0x40, 3, 4, ...octets(nextHop), ...internal],
    ...[0xc0, 8, 4, asn >> 8, asn & 255, (community >> 8) & 255, community & 255],
  ]);
  const lengths = Buffer.from([0, 0, attributes.length >> 8, attributes.length & 255]);
  return message(2, lengths, attributes, nlri);
}

const END_OF_RIB = message(2, Buffer.alloc(4));

/** `prefixes` networks of /24 from 16.0.0.0 on, in UPDATEs of one set of attributes each. */
function table(asn: number, nextHop: string, prefixes: number, sets: number): Buffer {
  const messages: Buffer[] = [];
  const each = Math.ceil(prefixes / sets);
  for (let set = 0, next = 0; next < prefixes; set++) {
    for (let left = Math.min(each, prefixes - next); left > 0; ) {
      const count = Math.min(left, 900);
      const nlri = Buffer.alloc(4 * count);
      for (let index = 0; index < count; index++, next++) {
        nlri[4 * index] = 24;
        nlri.writeUIntBE(0x100000 + next, 4 * index + 1, 3);
      }
      messages.push(update(asn, [asn, 100 + (set >> 8), 1000 + (set & 255), 3], nextHop, set, nlri));
      left -= count;
    }
  }
  return Buffer.concat([...messages, END_OF_RIB]);
}

async function runTable({ target, prefixes, sets, holdTime, limit }: Extract<Task, { kind: 'table' }>) {
  const receiver = new Peer(target, '10.100.0.2', 65002, holdTime);
  const sender = new Peer(target, '10.100.0.1', 65001, holdTime);
  const bytes = table(65001, '10.100.0.1', prefixes, sets);
  await Promise.all([receiver, sender].map((peer) => up(peer)));
  await sleep(1500);
  const began = performance.now();
  const all = new Promise<void>((resolve) => {
    receiver.onRoutes = () => receiver.announced >= prefixes && resolve();
  });
  for (let at = 0; at < bytes.length; at += 1 << 18) void sender.write(bytes.subarray(at, at + (1 << 18)));
  await Promise.race([all, sleep(limit)]);
  const milliseconds = performance.now() - began;
  await sleep(3500);
  const sessionsLost = [receiver, sender].filter(({ lost }) => lost).length;
  print({ milliseconds, updates: receiver.updates, prefixes: receiver.announced, sessionsLost });
}

async function runReflect({ target, clients, limit }: Extract<Task, { kind: 'reflect' }>): Promise<void> {
  const peers: Peer[] = [];
  let complete = 0;
  const began = performance.now();
  let resolveAll = () => {};
  const all = new Promise<void>((resolve) => {
    resolveAll = resolve;
  });
  for (let first = 0; first < clients; first += 50) {
    const some = Array.from({ length: Math.min(50, clients - first) }, (_, index) => client(first + index));
    peers.push(...some);
    await Promise.race([Promise.all(some.map(({ connected }) => connected)), sleep(limit)]);
  }
  function client(number: number): Peer {
    const address = `10.100.${(number >> 8) + 1}.${number & 255}`;
    const peer = new Peer(target, address, 64512, 180);
    const nlri = Buffer.from([32, 172, 16 + (number >> 16), (number >> 8) & 255, number & 255]);
    peer.onUp = () => void peer.write(Buffer.concat([update(64512, [], address, 1, nlri), END_OF_RIB]));
    // Speakers differ in whether a client hears its own route again: the others are what counts.
    let done = false;
    peer.onRoutes = () => {
      if (done || peer.announced < clients - 1) return;
      done = true;
      if (++complete === clients) resolveAll();
    };
    return peer;
  }
  await Promise.race([all, sleep(limit)]);
  const milliseconds = performance.now() - began;
  const established = peers.filter(({ isUp, lost }) => isUp && !lost).length;
  const updates = peers.reduce((sum, peer) => sum + peer.updates, 0);
  await sleep(2000);
  const withdrawal = complete === clients ? await loseOne(peers) : Number.NaN;
  print({ milliseconds, established, withdrawal, updates, complete: complete === clients });
}

async function loseOne(peers: readonly Peer[]): Promise<number> {
  const [victim, ...others] = peers;
  let heard = 0;
  const all = new Promise<void>((resolve) => {
    for (const peer of others) {
      const before = peer.withdrawn;
      let done = false;
      peer.onRoutes = () => {
        if (done || peer.withdrawn === before) return;
        done = true;
        if (++heard === others.length) resolve();
      };
    }
  });
  const began = performance.now();
  victim?.die();
  await Promise.race([all, sleep(10_000)]);
  return heard === others.length ? performance.now() - began : Number.NaN;
}

async function up(peer: Peer): Promise<void> {
  while (!peer.isUp) await sleep(20);
}

function print(result: TableResult | ReflectResult): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit(0);
}

const task = process.argv[2];
if (task?.startsWith('{')) {
  const parsed: Task = JSON.parse(task);
  void (parsed.kind === 'table' ? runTable(parsed) : runReflect(parsed));
}
