import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** What a helper of a test does takes a second at most; so long on a machine that is busy with other things. */
const LIMIT_MS = 60_000;

/**
 * What `promise` comes to.
 *
 * @param what What is waited for: `the agent to end`.
 * @throws {Error} If that takes too long.
 */
export async function within<T>(what: string, promise: Promise<T>, ms = LIMIT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`Cannot wait for ${what} any longer (${ms / 1000} s)`);
    timer = setTimeout(() => reject(error), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The first thing that a process prints, by which servers of tests say that they serve.
 *
 * @throws {Error} If it ends without a word, or takes too long.
 */
export async function firstWord({ stdout, spawnargs }: ChildProcess): Promise<string> {
  if (!stdout) throw new Error('Cannot listen to a process whose output is not piped');
  const name = spawnargs.slice(0, 4).join(' ');
  const said = once(stdout, 'data').then(([text]) => String(text));
  const mute = once(stdout, 'end').then(() => {
    throw new Error(`Cannot listen to ${name}: it has ended without a word`);
  });
  return within(`a word of ${name}`, Promise.race([said, mute]));
}
