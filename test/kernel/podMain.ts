/** Runs inside a pod's network namespace and does with sockets what the test asks for by message. */

import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { createServer, isIPv6, Socket } from 'node:net';
import type { Answer, Call, ConnectOptions, UdpOptions } from './podProcess.ts';

/** A connection that is not made by then is not made: some tests wait for that. */
const TIMEOUT_MS = 3000;
/** What is on its way over a connection comes, however busy the machine is. */
const READ_TIMEOUT_MS = 30_000;
const connections = new Map<number, Socket>();
const sockets = new Map<number, Datagrams>();
let next = 1;

/** A server that first says whom it sees, and then sends back all it gets. */
function listenTcp(port: number): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.write(`${plain(socket.remoteAddress)} ${socket.remotePort}\n`);
    socket.pipe(socket);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '::', () => resolve());
  });
}

/** A server that answers whom it sees, how much it got, and the datagram itself. */
function listenUdp(port: number): Promise<void> {
  const server = createSocket({ type: 'udp6', ipv6Only: false });
  server.on('message', (bytes, peer) => {
    server.send(
      Buffer.concat([Buffer.from(`${plain(peer.address)} ${peer.port} ${bytes.length}\n`), bytes]),
      peer.port,
      peer.address,
    );
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.bind(port, '::', () => resolve());
  });
}

async function connect(host: string, port: number, options: ConnectOptions) {
  const socket = new Socket();
  const began = performance.now();
  const took = () => performance.now() - began;
  try {
    await new Promise<void>((resolve, reject) => {
      setTimeout(() => reject(new Error('timeout')), TIMEOUT_MS).unref();
      socket.once('error', reject);
      socket.connect({ host, port, ...options }, () => resolve());
    });
    const seen = (await read(socket, (bytes) => bytes.includes(10))).toString().trim().split(' ');
    const id = next++;
    connections.set(id, socket);
    socket.on('error', () => {});
    return {
      id,
      tookMs: took(),
      seenAddress: seen[0] ?? '',
      seenPort: Number(seen[1]),
      localPort: socket.localPort ?? 0,
      peerAddress: plain(socket.remoteAddress),
      peerPort: socket.remotePort ?? 0,
    };
  } catch (error) {
    socket.destroy();
    return { error: codeOf(error), tookMs: took() };
  }
}

/** Sends bytes and waits for as many; whether they are the same. */
async function echo(id: number, size: number): Promise<boolean> {
  const socket = connections.get(id);
  if (!socket) return false;
  const sent = Buffer.alloc(size, `${id} and so on, `);
  socket.write(sent);
  const got = await read(socket, (bytes) => bytes.length >= size);
  return got.equals(sent);
}

/** Sends a byte, waits for it to come back, and so on; how many have. */
async function converse(id: number, turns: number): Promise<number> {
  const socket = connections.get(id);
  let done = 0;
  for (; socket && done < turns; done++) {
    socket.write('?');
    await read(socket, (bytes) => bytes.length >= 1);
  }
  return done;
}

function read(socket: Socket, enough: (bytes: Buffer) => boolean): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0);
    const timer = setTimeout(() => done(new Error(`timeout after ${bytes.length} bytes`)), READ_TIMEOUT_MS);
    const failed = (error: Error) => done(error);
    const more = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (enough(bytes)) done();
    };
    const done = (error?: Error) => {
      clearTimeout(timer);
      socket.off('data', more).off('error', failed);
      if (error) reject(error);
      else resolve(bytes);
    };
    socket.on('data', more).on('error', failed);
  });
}

function close(id: number): void {
  connections.get(id)?.destroy();
  connections.delete(id);
  sockets.get(id)?.close();
  sockets.delete(id);
}

/** A UDP socket to ask with; connected or not. */
async function openUdp(host: string, port: number, options: UdpOptions): Promise<number> {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.bind(options.localPort ?? 0, resolve));
  if (options.connected) {
    await new Promise<void>((resolve, reject) => {
      socket.connect(port, host, (error?: Error) => (error ? reject(error) : resolve()));
    });
  }
  sockets.set(next, socket);
  return next++;
}

async function ask(id: number, host: string, port: number, size: number, connected: boolean) {
  const socket = sockets.get(id);
  if (!socket) return { error: 'no socket' };
  const question = Buffer.alloc(size, 'question ');
  try {
    const [bytes, peer] = await new Promise<[Buffer, { address: string; port: number }]>(
      (resolve, reject) => {
        const timer = setTimeout(() => finish(() => reject(new Error('timeout'))), 1000);
        const failed = (error: Error) => finish(() => reject(error));
        const answered = (bytes: Buffer, peer: { address: string; port: number }) =>
          finish(() => resolve([bytes, peer]));
        const finish = (how: () => void) => {
          clearTimeout(timer);
          socket.off('error', failed).off('message', answered);
          how();
        };
        socket.on('error', failed).on('message', answered);
        const sent = (error: Error | null) => error && failed(error);
        if (connected) socket.send(question, sent);
        else socket.send(question, port, host, sent);
      },
    );
    const end = bytes.indexOf(10);
    const [seenAddress = '', seenPort, size] = bytes.subarray(0, end).toString().split(' ');
    return {
      seenAddress,
      seenPort: Number(seenPort),
      size: Number(size),
      whole: bytes.subarray(end + 1).equals(question),
      peerAddress: plain(peer.address),
      peerPort: peer.port,
    };
  } catch (error) {
    return { error: codeOf(error) };
  }
}

function plain(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '').replace(/%.*$/, '');
}

function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error) return String(error.code);
  return error instanceof Error ? error.message : String(error);
}

const calls = { listenTcp, listenUdp, connect, echo, converse, close, openUdp, ask };
export type Calls = typeof calls;

process.on('message', async ({ id, name, args }: Call) => {
  const answer: Answer = { id };
  try {
    // biome-ignore lint/complexity/noBannedTypes: the caller's side is typed by `Calls`.
    answer.value = await (calls[name as keyof Calls] as Function)(...args);
  } catch (error) {
    answer.error = codeOf(error);
  }
  process.send?.(answer);
});
process.send?.({ id: 0 } satisfies Answer);
