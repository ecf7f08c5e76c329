import { connect } from 'node:net';
import type { Variables } from './protocol/environment.ts';

/** What a verb comes to: the text for standard output, and whether it is a result or an error. */
export interface Answer {
  readonly ok: boolean;
  readonly body: string;
}

/** Milliseconds, as in launcher.c: half of what the kubelet grants a verb. */
const PATIENCE = 60_000;

/** A value that HTTP carries unchanged: no control characters, no blanks at the ends. */
const PLAIN = /^(?! )[^\p{Cc}]*(?<! )$/u;

/**
 * Hands a verb to the agent, in the words of launcher.c: `POST /cni/<verb>`, a header per variable, the
 * configuration as body; 200 carries the result, 500 a CNI error. HTTP/1.0 keeps chunked encoding out.
 *
 * @returns Undefined where no agent gives a complete answer.
 */
export function askAgent(path: string, variables: Variables, input: string): Promise<Answer | undefined> {
  const headers = Object.entries(variables);
  if (!headers.every(([name, value]) => /^[A-Z0-9_]+$/.test(name) && PLAIN.test(value ?? ''))) {
    return Promise.resolve(undefined);
  }
  const head = [
    `POST /cni/${variables.CNI_COMMAND} HTTP/1.0`,
    `Content-Length: ${Buffer.byteLength(input)}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect(path);
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(readAnswer(Buffer.concat(chunks)));
    };
    const timer = setTimeout(finish, PATIENCE);
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('close', finish);
    socket.on('error', finish);
    socket.write(`${head.join('\r\n')}\r\n\r\n${input}`);
  });
}

function readAnswer(bytes: Buffer): Answer | undefined {
  const blank = bytes.indexOf('\r\n\r\n');
  if (blank < 0) return undefined;
  const head = bytes.toString('latin1', 0, blank);
  const body = bytes.subarray(blank + 4);
  const status = /^HTTP\/1\.\d (200|500) /.exec(head)?.[1];
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (status === undefined || length === undefined || Number(length) !== body.length) return undefined;
  if (status === '500' && body.length === 0) return undefined;
  return { ok: status === '200', body: body.toString() };
}
