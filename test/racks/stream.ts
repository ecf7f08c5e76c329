import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestNamespace } from '../kernel/namespaces.ts';

/** Sends every datagram back. */
const ECHO = `
const socket = require('dgram').createSocket('udp4');
socket.on('message', (bytes, peer) => socket.send(bytes, peer.port, peer.address));
socket.bind(Number(process.argv[1]), () => process.stdout.write('ready\\n'));`;

/** Sends a number every so many milliseconds until it is told to stop; says then which ones did not come back. */
const SENDER = `
const [address, port, interval, count] = process.argv.slice(1);
const socket = require('dgram').createSocket('udp4');
const answered = new Set();
let sent = 0, refused = 0;
socket.on('error', () => refused++);
socket.on('message', (bytes) => answered.add(bytes.readUInt32BE(0)));
socket.connect(Number(port), address, () => {
  const timer = setInterval(() => {
    if (sent >= Number(count)) return clearInterval(timer);
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32BE(sent++, 0);
    socket.send(bytes, () => {});
  }, Number(interval));
  process.stdin.once('data', () => {
    clearInterval(timer);
    setTimeout(() => {
      const lost = [];
      for (let number = 0; number < sent; number++) if (!answered.has(number)) lost.push(number);
      console.log(JSON.stringify({ sent, refused, lost }));
      process.exit();
    }, 500);
  });
  console.log('ready');
});`;

const PORT = 7007;
const INTERVAL_MS = 5;
/** A stream that nobody ends does so by itself after a few minutes. */
const LONGEST = 40_000;

export interface StreamReport {
  readonly sent: number;
  /** The numbers of those that were not answered, in ascending order. */
  readonly lost: readonly number[];
  /** How long the longest gap was, in milliseconds. */
  readonly longestGap: number;
}

/** In words, for who reads what a test has measured. */
export function lossOf({ sent, lost, longestGap }: StreamReport): string {
  return `${lost.length} of ${sent} lost, ${longestGap} ms at a stretch`;
}

/** Answers streams inside a namespace, until that goes. */
export async function echo(namespace: TestNamespace, port = PORT): Promise<void> {
  await ready(namespace.start(process.execPath, ['-e', ECHO, String(port)], quiet()));
}

/** A UDP stream with a number in each datagram, of which every one is to come back. */
export class Stream {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#lines = lines;
  }

  static async start(from: TestNamespace, address: string, port = PORT): Promise<Stream> {
    const words = [address, String(port), String(INTERVAL_MS), String(LONGEST)];
    const child = from.start(process.execPath, ['-e', SENDER, ...words], quiet());
    return new Stream(child, await ready(child));
  }

  /** Ends it half a second after the last datagram, and says what became of them. */
  async stop(): Promise<StreamReport> {
    this.#child.stdin?.write('stop\n');
    const { value } = await this.#lines.next();
    const { sent, lost }: { sent: number; lost: number[] } = JSON.parse(value);
    return { sent, lost, longestGap: INTERVAL_MS * longestRun(lost) };
  }
}

function longestRun(numbers: readonly number[]): number {
  let [longest, run, before] = [0, 0, Number.NaN];
  for (const number of numbers) {
    run = number === before + 1 ? run + 1 : 1;
    longest = Math.max(longest, run);
    before = number;
  }
  return longest;
}

async function ready(child: ChildProcess): Promise<AsyncIterator<string>> {
  if (!child.stdout) throw new Error('Cannot read from the process: it has no standard output');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const gone = once(child, 'exit').then(() => ({ value: 'the process ended', done: true }));
  const { value } = await Promise.race([lines.next(), gone]);
  if (value !== 'ready') throw new Error(`Cannot start a stream: ${value}`);
  return lines;
}

function quiet() {
  const { NODE_EXTRA_CA_CERTS: _, NODE_TEST_CONTEXT: __, ...env } = process.env;
  return { env, stdio: ['pipe', 'pipe', 'inherit'] as ['pipe', 'pipe', 'inherit'] };
}
