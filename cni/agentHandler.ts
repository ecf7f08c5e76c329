import type { IncomingMessage, ServerResponse } from 'node:http';
import { messageOf } from '../src/errors.ts';
import type { Answer } from './agentSocket.ts';
import type { Variables } from './protocol/environment.ts';

/** Bytes. The list of attachments of a full node has tens of thousands. */
export const INPUT_MAX = 16 << 20;

/**
 * The agent's end of its socket for `POST /cni/<verb>`: reads the call, and writes the answer with the length by
 * which the launcher knows it is whole. A status other than 200 and 500 sends the caller to its bundle.
 */
export async function handleVerb(
  request: IncomingMessage,
  response: ServerResponse,
  serve: (variables: Variables, input: string) => Promise<Answer>,
): Promise<void> {
  const reply = (status: number, body: string) => {
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    response.writeHead(status, headers).end(body);
  };
  const verb = /^\/cni\/([A-Z]+)$/.exec(request.url ?? '')?.[1];
  if (verb === undefined || request.method !== 'POST') return reply(404, 'expected POST /cni/<verb>\n');
  try {
    const input = await readBody(request);
    if (input === undefined) return reply(413, `expected at most ${INPUT_MAX} bytes\n`);
    const { ok, body } = await serve(variablesOf(verb, request.rawHeaders), input);
    reply(ok ? 200 : 500, body);
  } catch (error) {
    reply(503, `${messageOf(error)}\n`);
  }
}

/** Undefined for a body above the limit. By events, since iterating takes a tenth of a millisecond, a twentieth of an ADD. */
function readBody(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= INPUT_MAX) chunks.push(chunk);
    });
    request.on('end', () => resolve(length <= INPUT_MAX ? Buffer.concat(chunks).toString() : undefined));
    request.on('error', reject);
  });
}

/** The variables among the headers, which Node reads as Latin-1 and the launcher wrote as they were. */
function variablesOf(verb: string, rawHeaders: readonly string[]): Variables {
  const variables: Record<string, string> = {};
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    if (name.startsWith('CNI_')) variables[name] ??= Buffer.from(value, 'latin1').toString();
  }
  return { ...variables, CNI_COMMAND: verb };
}
