import { readSync } from 'node:fs';
import { hasCode } from '../src/ffi/systemError.ts';
import { version } from '../src/version.ts';
import type { Answer } from './agentSocket.ts';
import { answer, type Call } from './answer.ts';
import { VERSIONS } from './protocol/version.ts';

/** The bundle. What only some calls need is imported by those: an error costs Node's start and little more. */
async function main(): Promise<void> {
  if (!process.env.CNI_COMMAND) {
    const versions = VERSIONS.join(', ');
    process.stderr.write(`CNI plugin tombolo ${version}\nCNI protocol versions supported: ${versions}\n`);
    return;
  }
  const { ok, body } = await answer(process.env, readInput, serve);
  process.exitCode = ok ? 0 : 1;
  process.stdout.write(body);
}

/** The agent serves the call if it answers; otherwise this process does, as far as it goes without one. */
async function serve(call: Call, input: string): Promise<Answer> {
  // The launcher has asked already and had no answer.
  if (process.env.TOMBOLO_AGENT !== 'silent') {
    const { askAgent } = await import('./agentSocket.ts');
    const handed = await askAgent(call.configuration.agentSocket, call.environment.variables, input);
    if (handed !== undefined) return handed;
  }
  const { serveAlone } = await import('./alone.ts');
  return await serveAlone(call);
}

/** All of standard input. A pipe that somebody has made non-blocking says EAGAIN where it should wait. */
async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  const chunk = Buffer.alloc(65536);
  try {
    for (let length = 1; length > 0; ) {
      length = readSync(0, chunk);
      chunks.push(Buffer.from(chunk.subarray(0, length)));
    }
  } catch (error) {
    if (!hasCode(error, 'EAGAIN')) throw error;
    for await (const more of process.stdin) chunks.push(more);
  }
  return Buffer.concat(chunks).toString();
}

void main();
