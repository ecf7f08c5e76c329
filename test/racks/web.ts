import type { TestNamespace } from '../kernel/namespaces.ts';
import { firstWord } from '../kernel/within.ts';

/** Where pods serve, by TCP and by UDP. */
export const TARGET_PORT = 8080;

/** Says by HTTP and in datagrams who it is and whom it sees. */
const SERVER = `
const [name, port] = process.argv.slice(1);
const say = ({ remoteAddress, remotePort }) => name + ' sees ' + remoteAddress.replace('::ffff:', '') + ' ' + remotePort;
const server = require('http').createServer((request, answer) => answer.end(say(request.socket)));
server.keepAliveTimeout = 0;
const udp = require('dgram').createSocket('udp6');
udp.on('message', (_, { address, port }) => udp.send(say({ remoteAddress: address, remotePort: port }), port, address));
server.listen(Number(port), '::', () => udp.bind(Number(port), '::', () => process.stdout.write('ready')));`;

/** Asks so many times, each time from a port of its own, eight at a time; an answer that takes three seconds is none. */
const CLIENT = `
const [protocol, address, port, count] = process.argv.slice(1);
const answers = [];
let left = Number(count), open = 0;
const tcp = (done) => {
  const request = require('http').get({ host: address, port, agent: false, timeout: 3000 }, (answer) => {
    const chunks = [];
    answer.on('data', (chunk) => chunks.push(chunk)).on('end', () => done(Buffer.concat(chunks).toString()));
  });
  request.on('timeout', () => request.destroy(new Error('timeout'))).on('error', (error) => done(error.message));
};
const udp = (done) => {
  const socket = require('dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const end = (text) => { clearTimeout(timer); socket.close(); done(text); };
  const timer = setTimeout(() => end('timeout'), 3000);
  socket.on('error', (error) => end(error.message)).on('message', (bytes) => end(bytes.toString()));
  socket.connect(Number(port), address, () => socket.send('who'));
};
const next = () => {
  if (left-- <= 0) return open === 0 && console.log(JSON.stringify(answers));
  open++;
  (protocol === 'tcp' ? tcp : udp)((text) => { open--; answers.push(text); next(); });
};
for (let each = 0; each < 8; each++) next();`;

/** Who answered, and what it saw of whoever asked. */
export interface Answer {
  readonly by: string;
  readonly peer: string;
  readonly port: number;
}

/** Serves inside a namespace, by HTTP and UDP, until that goes. */
export async function serve(namespace: TestNamespace, name: string, port = TARGET_PORT): Promise<void> {
  const words = ['-e', SERVER, name, String(port)];
  const server = namespace.start(process.execPath, words, { env: {}, stdio: ['ignore', 'pipe', 'inherit'] });
  await firstWord(server);
}

/** Asks `count` times, each time from a port of its own. @throws {Error} If one is not answered. */
export function ask(
  from: TestNamespace,
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
  count = 1,
): Answer[] {
  const words = [protocol, address, String(port), String(count)];
  const said: string[] = JSON.parse(from.run('env', '-i', process.execPath, '-e', CLIENT, ...words));
  return said.map((text) => {
    const [, by, peer, seen] = /^(\S+) sees (\S+) (\d+)$/.exec(text) ?? [];
    if (by === undefined || peer === undefined)
      throw new Error(`Cannot ask ${address}:${port} by ${protocol} ${count} times: ${said.join('; ')}`);
    return { by, peer, port: Number(seen) };
  });
}

/** How many of the answers came from whom. */
export function tally(answers: readonly Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { by } of answers) counts[by] = (counts[by] ?? 0) + 1;
  return Object.fromEntries(Object.entries(counts).sort());
}
