import type { ChildProcess } from 'node:child_process';
import type { TestNamespace } from './namespaces.ts';
import { firstWord } from './within.ts';

/** Serves TCP on port 8080 of both families: says who asks, then counts the bytes of the upload. */
const SERVER = `require('net').createServer({ allowHalfOpen: true }, (s) => { let n = 0; s.on('data', (d) => { n += d.length; });
  s.on('error', () => {}); s.on('end', () => s.end(JSON.stringify({ peer: s.remoteAddress.replace('::ffff:', ''), bytes: n }))); })
  .listen(8080, '::', () => process.stdout.write('ready'));`;

export async function serveUploads(at: TestNamespace): Promise<ChildProcess> {
  const server = at.start(process.execPath, ['-e', SERVER], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {},
  });
  await firstWord(server);
  return server;
}

/** Uploads so many bytes; what the server says of it. */
export function upload(
  from: TestNamespace,
  address: string,
  bytes = 1,
  port = 8080,
): { peer: string; bytes: number } {
  const script = `const s = require('net').connect(${port}, '${address}'); s.setTimeout(8000, () => { console.log('"timeout"'); process.exit(); });
    s.on('error', (e) => console.log(JSON.stringify(e.code))); s.on('data', (d) => process.stdout.write(d)); s.end(Buffer.alloc(${bytes}));`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout);
}
