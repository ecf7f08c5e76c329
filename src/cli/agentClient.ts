import { request } from 'node:http';
import { hasCode } from '../ffi/systemError.ts';

const PATIENCE_MS = 10_000;

/**
 * `GET` on the agent's socket, its JSON answer parsed.
 *
 * @throws {Error} If no agent answers there, or with what the agent says against it.
 */
export async function askAgent<T>(socketPath: string, path: string): Promise<T> {
  return parse(String(await callAgent(socketPath, 'GET', path))) as T;
}

/** `POST`: the agent is to do something; otherwise as {@link askAgent}. */
export async function tellAgent<T>(socketPath: string, path: string): Promise<T> {
  return parse(String(await callAgent(socketPath, 'POST', path))) as T;
}

/** As {@link askAgent}, by any method, and the answer as it comes. */
export async function callAgent(socketPath: string, method: string, path: string): Promise<Buffer> {
  const { status, body } = await call(socketPath, method, path);
  if (status === 200) return body;
  const answer = parse(String(body));
  const reason =
    typeof answer === 'object' && answer !== null && 'error' in answer ? answer.error : String(body).trim();
  throw new Error(
    `Cannot ${method.toLowerCase()} ${path} ${method === 'GET' ? 'from' : 'to'} the agent: ${reason} (status ${status})`,
  );
}

function call(socketPath: string, method: string, path: string): Promise<{ status: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(explained(socketPath, error));
    const asked = request({ socketPath, method, path, timeout: PATIENCE_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', failed);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer in ${PATIENCE_MS / 1000} s`)));
    asked.on('error', failed);
    asked.end();
  });
}

function explained(socketPath: string, error: Error): Error {
  const reason = hasCode(error, 'ENOENT', 'ECONNREFUSED') ? 'no agent runs there' : error.message;
  return new Error(`Cannot ask the agent on ${socketPath}: ${reason}`, { cause: error });
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
