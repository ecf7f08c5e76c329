import { chmodSync, closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Answer } from '../../cni/agentSocket.ts';
import { isCall, serveCall } from '../../cni/callSocket.ts';
import type { Variables } from '../../cni/protocol/environment.ts';
import { formatIP } from '../address/ip.ts';
import { because, messageOf } from '../errors.ts';
import { tryLock } from '../ffi/flock.ts';
import type { Log } from '../log.ts';
import type { AddressAndPort } from '../store/kinds/bgpValues.ts';

export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/**
 * Makes this process the one agent of a directory, or finds that another is.
 *
 * @returns How to give that up.
 * @throws {Error} If another agent runs there, or none can.
 */
export function claimDirectory(runDir: string): () => void {
  const length = Buffer.byteLength(socketPath(runDir));
  if (length > SOCKET_PATH_BYTES) {
    const reason = `the path of the socket must not be longer than ${SOCKET_PATH_BYTES} bytes`;
    throw new Error(`Cannot run in ${runDir}: ${reason} (value ${length})`);
  }
  const fd = openLock(runDir);
  if (!tryLock(fd)) {
    closeSync(fd);
    throw new Error(`Cannot run in ${runDir}: another agent does`);
  }
  return () => closeSync(fd);
}

function openLock(runDir: string): number {
  try {
    mkdirSync(runDir, { recursive: true, mode: 0o700 });
    chmodSync(runDir, 0o700);
    return openSync(join(runDir, 'agent.lock'), 'a', 0o600);
  } catch (error) {
    throw because(`run in ${runDir}`, error);
  }
}

/** Of `sun_path` in unix(7), without the zero at its end; libuv cuts off what is longer, and says nothing. */
const SOCKET_PATH_BYTES = 107;

function socketPath(runDir: string): string {
  return join(runDir, 'agent.sock');
}

/** What a call of the CNI plugin comes to. */
export type CallHandler = (variables: Variables, input: string) => Promise<Answer>;

/**
 * Serves HTTP on `<runDir>/agent.sock`, for root alone, and the launcher's calls beside it. The directory must be claimed:
 * what lies there is stale.
 */
export async function listenOnSocket(
  runDir: string,
  handler: Handler,
  onCall: CallHandler,
  log: Log,
): Promise<Server> {
  const path = socketPath(runDir);
  rmSync(path, { force: true });
  const server = serverOf(handler, log);
  takeCalls(server, onCall);
  // bind(2) happens before listen() returns, so that the socket never has another mode.
  const umask = process.umask(0o177);
  const started = listening(server, () => server.listen(path));
  process.umask(umask);
  await started.catch((error: unknown) => {
    throw because(`listen on ${path}`, error);
  });
  return server;
}

/** Who connects and says nothing so long is sent away, in milliseconds: an agent that is to stop waits for open connections. */
const SILENCE_MS = 5_000;

/** Looks at what comes first on each connection, and leaves to the HTTP server what is no call of the launcher. */
function takeCalls(server: Server, onCall: CallHandler): void {
  const listeners = server.rawListeners('connection');
  server.removeAllListeners('connection');
  server.on('connection', (socket) => {
    const drop = () => socket.destroy();
    socket.setTimeout(SILENCE_MS);
    for (const event of ['error', 'end', 'timeout']) socket.once(event, drop);
    socket.once('data', (bytes: Buffer) => {
      for (const event of ['error', 'end', 'timeout']) socket.off(event, drop);
      socket.setTimeout(0);
      if (isCall(bytes)) return serveCall(socket, bytes, onCall);
      socket.pause();
      socket.unshift(bytes);
      for (const listener of listeners) listener.call(server, socket);
      socket.resume();
    });
  });
}

export async function listenOnAddress(
  { address, port }: AddressAndPort,
  handler: Handler,
  log: Log,
): Promise<Server> {
  const server = serverOf(handler, log);
  await listening(server, () => server.listen(port, formatIP(address))).catch((error: unknown) => {
    throw because(`listen on ${formatIP(address)} port ${port}`, error);
  });
  return server;
}

/** Takes no new calls; resolves when those under way have been answered. */
export function drained(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    listen();
  });
}

function serverOf(handler: Handler, log: Log): Server {
  return createServer((request, response) => {
    handler(request, response).catch((error: unknown) => {
      log.error('request failed', { path: request.url, error });
      if (!response.headersSent) response.writeHead(500);
      response.end(`${messageOf(error)}\n`);
    });
  });
}
