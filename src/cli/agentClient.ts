import { request } from 'node:http';
import { hasCode } from '../ffi/systemError.ts';

const PATIENCE_MS = 10_000;

/**
 * `GET` on the agent's socket, its JSON answer parsed.
 *
 * @throws {Error} If no agent answers there, or with what the agent says against it.
 */
export async function askAgent<T>(socketPath: string, path: string): Promise<T> {
  const { status, body } = await get(socketPath, path);
  const answer = parse(body);
  if (status === 200) return answer as T;
  const reason =
    typeof answer === 'object' && answer !== null && 'error' in answer ? answer.error : body.trim();
  throw new Error(`Cannot get ${path} from the agent: ${reason} (status ${status})`);
}

function get(socketPath: string, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(explained(socketPath, error));
    const asked = request({ socketPath, path, timeout: PATIENCE_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', failed);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      );
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
