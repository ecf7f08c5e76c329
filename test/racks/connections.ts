import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestNamespace } from '../kernel/namespaces.ts';

/** Keeps connections open, each with a question every so many milliseconds, until it is told to stop; says what became of each. */
const CLIENT = `
const [address, port, count, interval] = process.argv.slice(1);
const net = require('net');
const connections = [];
const open = () => {
  const one = { port: 0, by: '', answers: 0, longest: 0, end: '' };
  const socket = net.connect(Number(port), address);
  let last = Date.now();
  const question = () => socket.write('GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n');
  socket.on('connect', () => { one.port = socket.localPort; question(); });
  socket.on('data', (bytes) => {
    const [, by] = /(\\S+) sees/.exec(bytes.toString()) ?? [];
    if (by === undefined) return;
    if (one.by !== '' && one.by !== by) one.end = 'answered by ' + by + ' after ' + one.by;
    one.longest = Math.max(one.longest, Date.now() - last);
    [one.by, last] = [by, Date.now()];
    one.answers++;
    setTimeout(question, Number(interval));
  });
  socket.on('error', ({ code }) => { one.end = code; });
  socket.on('close', () => { one.end ||= 'closed'; });
  connections.push(one);
};
for (let number = 0; number < Number(count); number++) open();
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  console.log(JSON.stringify(connections));
  if (line === 'stop') process.exit();
});`;

const INTERVAL_MS = 100;

/** One connection, and what became of it. */
export interface Connection {
  /** The client's. */
  readonly port: number;
  /** Who answers it. */
  readonly by: string;
  readonly answers: number;
  /** The longest time between two answers, in milliseconds. */
  readonly longest: number;
  /** How it ended; empty while it is open. */
  readonly end: string;
}

/** Running connections to an address, each with a question and an answer ten times a second. */
export class Connections {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(from: TestNamespace, address: string, port: number, count: number) {
    const words = ['-e', CLIENT, address, String(port), String(count), String(INTERVAL_MS)];
    this.#child = from.start(process.execPath, words, { env: {}, stdio: ['pipe', 'pipe', 'inherit'] });
    if (!this.#child.stdout) throw new Error('Cannot read from the process: it has no standard output');
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** How they are at the moment. */
  look(): Promise<Connection[]> {
    return this.#say('look');
  }

  /** Ends them all. */
  async stop(): Promise<Connection[]> {
    const ended = once(this.#child, 'exit');
    const connections = await this.#say('stop');
    await ended;
    return connections;
  }

  async #say(word: string): Promise<Connection[]> {
    this.#child.stdin?.write(`${word}\n`);
    const { value } = await this.#lines.next();
    return JSON.parse(value);
  }
}
