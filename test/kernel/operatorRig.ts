import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { within } from './within.ts';

const PROGRAM = join(import.meta.dirname, '../../dist/tombolo');
const START_LIMIT_MS = 150_000;

/** The operator as it is built, over a directory store. */
export class TestOperator {
  readonly log: string[] = [];
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#process = child;
    process.on('exit', () => child.kill('SIGKILL'));
    let rest = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.log.push(...lines);
    });
  }

  /** Resolves when it follows the store. */
  static start(directory: string, ...options: string[]): Promise<TestOperator> {
    return TestOperator.over(`directory:${directory}`, ...options);
  }

  /** Over any store. */
  static async over(store: string, ...options: string[]): Promise<TestOperator> {
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    const words = [PROGRAM, 'operator', '--store', store, '--lease-duration', '2', ...options];
    const child = spawn(process.execPath, words, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    const operator = new TestOperator(child);
    for (const end = performance.now() + START_LIMIT_MS; performance.now() < end; ) {
      if (operator.said('ready')) return operator;
      if (child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await operator.end('SIGKILL');
    throw new Error(`the operator does not start: ${operator.log.join('\n')}`);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  said(message: string): boolean {
    return this.log.some((line) => JSON.parse(line).message.includes(message));
  }

  /** @returns Its exit code, or the signal that ended it. */
  async end(signal: NodeJS.Signals): Promise<number | string | null> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode !== null || signalCode !== null) return exitCode ?? signalCode;
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    const [code, by] = await within(`the operator to end on ${signal}`, ended);
    return code ?? by;
  }
}
