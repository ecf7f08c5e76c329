import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { messageOf } from '../../errors.ts';
import { isRecord } from '../schema.ts';
import { StoreError, type StoreReason } from '../store.ts';
import type { Connection } from './kubeconfig.ts';

/** How long an answer may take to begin; a watch may then go on for as long as it likes. */
const PATIENCE_MS = 30_000;

/** A watch that hears nothing, not even a bookmark, for so long has lost its connection without being told. */
const SILENCE_MS = 10 * 60_000;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** HTTP as the Kubernetes API speaks it: JSON both ways, and errors as `Status` objects. */
export interface ApiClient {
  /** @throws {StoreError} By the reason that the server gives. */
  ask(request: ApiRequest): Promise<unknown>;
  /** The objects of a watch, one per line, until either side ends it. */
  stream(request: ApiRequest, signal: AbortSignal): AsyncGenerator<unknown>;
  close(): void;
}

export function openApiClient(connection: Connection): ApiClient {
  const { server, ca, certificate: cert, key, verify, serverName: servername } = connection;
  const options = { keepAlive: true, maxSockets: 32 };
  const secure = server.protocol === 'https:';
  const tls = {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(servername !== undefined && { servername }),
    rejectUnauthorized: verify,
  };
  const agent = secure ? new HttpsAgent({ ...options, ...tls }) : new HttpAgent(options);

  const send = ({ method, path, query = {}, body }: ApiRequest, signal?: AbortSignal) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const url = new URL(`${server.pathname.replace(/\/$/, '')}${path}`, server);
      url.search = new URLSearchParams(query).toString();
      const text = body === undefined ? undefined : JSON.stringify(body);
      const token = connection.token();
      const headers = {
        accept: 'application/json',
        'user-agent': 'tombolo',
        ...(token && { authorization: `Bearer ${token}` }),
        ...(text !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
        }),
      };
      const failed = (error: Error) => reject(unavailable(server, error));
      const asked = (secure ? httpsRequest : httpRequest)(
        url,
        { method, headers, agent, ...(signal && { signal }) },
        (response) => {
          clearTimeout(timer);
          resolve(response);
        },
      );
      const timer = setTimeout(() => asked.destroy(new Error('no answer in 30 s')), PATIENCE_MS);
      asked.on('error', (error) => {
        clearTimeout(timer);
        failed(error);
      });
      asked.end(text);
    });

  return {
    async ask(request) {
      const response = await send(request);
      const text = await read(response, server);
      const value = parse(text);
      if (response.statusCode !== undefined && response.statusCode < 300) return value;
      throw refusal(request, response.statusCode ?? 0, value ?? text);
    },

    async *stream(request, signal) {
      const response = await send(request, signal);
      if (response.statusCode !== 200) {
        const text = await read(response, server);
        throw refusal(request, response.statusCode ?? 0, parse(text) ?? text);
      }
      response.socket.setKeepAlive(true, 30_000);
      response.setTimeout(SILENCE_MS, () => response.destroy());
      yield* lines(response, signal);
    },

    close: () => agent.destroy(),
  };
}

async function* lines(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<unknown> {
  let rest = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      const pieces = (rest + chunk).split('\n');
      rest = pieces.pop() ?? '';
      for (const piece of pieces) if (piece.trim() !== '') yield JSON.parse(piece);
    }
  } catch (error) {
    // A connection that ends, however it ends, is a watch to begin again; a line that is no JSON is an error.
    if (!signal.aborted && error instanceof SyntaxError) throw error;
  } finally {
    response.destroy();
  }
}

async function read(response: IncomingMessage, server: URL): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk);
  } catch (error) {
    throw unavailable(server, error);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function unavailable(server: URL, error: unknown): StoreError {
  return new StoreError('Unavailable', `Cannot reach ${server.origin}: ${messageOf(error)}`, {
    cause: error,
  });
}

const REASONS: Readonly<Record<string, StoreReason>> = {
  NotFound: 'NotFound',
  AlreadyExists: 'AlreadyExists',
  Conflict: 'Conflict',
  Invalid: 'Invalid',
  BadRequest: 'Invalid',
};

/** The server's own words, under the reason it gives. */
function refusal({ method, path }: ApiRequest, status: number, answer: unknown): StoreError {
  const { reason, message } = isRecord(answer) ? answer : { reason: undefined, message: String(answer) };
  return new StoreError(
    REASONS[String(reason)] ?? (status === 404 ? 'NotFound' : 'Unavailable'),
    `Cannot ${method} ${path}: ${String(message).trim() || `status ${status}`}`,
  );
}
