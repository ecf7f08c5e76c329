import type { Socket } from 'node:net';
import { messageOf } from '../src/errors.ts';
import { INPUT_MAX } from './agentHandler.ts';
import type { Answer } from './agentSocket.ts';
import type { Variables } from './protocol/environment.ts';

/** The first two lines as launcher.c writes them, and the bundle after it. */
const BEGIN = /^POST \/cni\/([A-Z]+) HTTP\/1\.0\r\nContent-Length: (\d+)\r\n/;
/** Bytes; more than those two lines have. */
const BEGIN_MAX = 80;
/** Bytes, as HEAD_MAX in launcher.c. */
const HEAD_MAX = 16384;

/** A call, once all of it is there. */
export interface RawCall {
  readonly variables: Variables;
  readonly input: string;
}

/**
 * Whether what has come first on a connection is a call in the very words of the launcher. Such calls are read and answered
 * here: Node's HTTP server, which takes whatever else HTTP allows, needs a tenth of an ADD for that.
 */
export function isCall(bytes: Buffer): boolean {
  return BEGIN.test(bytes.toString('latin1', 0, BEGIN_MAX));
}

/** Serves the call that begins with `bytes`. A status other than 200 and 500 sends the caller to its bundle. */
export function serveCall(
  socket: Socket,
  bytes: Buffer,
  serve: (variables: Variables, input: string) => Promise<Answer>,
): void {
  const received = [bytes];
  let length = bytes.length;
  let wanted = callLength(bytes);
  const take = () => {
    // What else comes is read and forgotten: a caller that is still sending would not look at the answer.
    socket.off('data', onData).resume();
    if (wanted === 'too long') return reply(socket, '413 Content Too Large', '');
    const { variables, input } = readCall(Buffer.concat(received));
    serve(variables, input).then(
      ({ ok, body }) => reply(socket, ok ? '200 OK' : '500 Internal Server Error', body),
      (error: unknown) => reply(socket, '503 Service Unavailable', `${messageOf(error)}\n`),
    );
  };
  const isWhole = () => wanted === 'too long' || (wanted !== undefined && length >= wanted);
  const onData = (more: Buffer) => {
    received.push(more);
    length += more.length;
    wanted ??= callLength(Buffer.concat(received));
    if (isWhole()) take();
  };
  // Whoever calls may die at any time; what it asked for is done all the same.
  socket.on('error', () => socket.destroy());
  socket.on('data', onData);
  if (isWhole()) take();
}

/** Bytes of the whole call, known when its head is there. */
function callLength(bytes: Buffer): number | 'too long' | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return bytes.length > HEAD_MAX ? 'too long' : undefined;
  const length = Number(BEGIN.exec(bytes.toString('latin1', 0, BEGIN_MAX))?.[2]);
  return length > INPUT_MAX ? 'too long' : end + 4 + length;
}

/** @param bytes At least {@link callLength} of them. */
function readCall(bytes: Buffer): RawCall {
  const end = bytes.indexOf('\r\n\r\n');
  const head = bytes.toString('utf8', 0, end);
  const [begin = '', verb = '', length = ''] = BEGIN.exec(`${head}\r\n`) ?? [];
  const variables: Record<string, string> = {};
  for (const line of head.slice(begin.length).split('\r\n')) {
    const colon = line.indexOf(': ');
    if (line.startsWith('CNI_') && colon > 0) variables[line.slice(0, colon)] ??= line.slice(colon + 2);
  }
  const input = bytes.toString('utf8', end + 4, end + 4 + Number(length));
  return { variables: { ...variables, CNI_COMMAND: verb }, input };
}

function reply(socket: Socket, status: string, body: string): void {
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}`;
  socket.end(`${head}\r\n\r\n${body}`);
}
