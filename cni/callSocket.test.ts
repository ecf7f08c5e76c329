import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { askAgent } from './agentSocket.ts';
import { isCall, serveCall } from './callSocket.ts';

const directory = mkdtempSync(join(tmpdir(), 'tombolo-call-socket-'));
const path = join(directory, 'agent.sock');
after(() => rmSync(directory, { recursive: true }));

type Serve = Parameters<typeof serveCall>[2];

async function withServer(serve: Serve, body: () => Promise<void>): Promise<void> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) =>
    socket.once('data', (bytes: Buffer) => {
      if (isCall(bytes)) serveCall(socket, bytes, serve);
      else socket.destroy();
    }),
  );
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await body().finally(() => server.close());
}

/** Sends pieces one after the other; what comes back until the other end closes. */
async function send(...pieces: string[]): Promise<string> {
  const socket = connect(path);
  const answer: Buffer[] = [];
  socket.on('data', (chunk) => answer.push(chunk));
  const closed = new Promise((resolve) => socket.on('close', resolve));
  for (const piece of pieces) {
    await new Promise((resolve) => socket.write(piece, resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  return Buffer.concat(answer).toString();
}

test('what the bundle sends arrives unchanged, and the answer comes back', async () => {
  const seen: unknown[] = [];
  const serve: Serve = async (variables, input) => {
    seen.push(variables, input);
    return { ok: variables.CNI_COMMAND === 'ADD', body: `{"verb":"${variables.CNI_COMMAND} é"}` };
  };
  await withServer(serve, async () => {
    const variables = { CNI_COMMAND: 'ADD', CNI_ARGS: 'K=ü 漢;X=a: b', CNI_NETNS: '' };
    assert.deepEqual(await askAgent(path, variables, '{"name":"ö"}'), { ok: true, body: '{"verb":"ADD é"}' });
    assert.deepEqual(seen, [variables, '{"name":"ö"}']);
    const failed = await askAgent(path, { ...variables, CNI_COMMAND: 'DEL' }, '{}');
    assert.deepEqual(failed, { ok: false, body: '{"verb":"DEL é"}' });
  });
});

test('a call may come in any pieces', async () => {
  const seen: unknown[] = [];
  const serve: Serve = async (variables, input) => {
    seen.push(variables, input);
    return { ok: true, body: 'done\n' };
  };
  const begin = 'POST /cni/CHECK HTTP/1.0\r\nContent-Length: 13\r\n';
  const rest = 'CNI_COMMAND: CHECK\r\nCNI_IFNAME: eth0\r\nOther: x\r\n\r\n{"name":"é"}';
  await withServer(serve, () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.nat(rest.length), { maxLength: 5 }), async (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), rest.length];
        const pieces = places.slice(1).map((end, i) => rest.slice(places[i], end));
        const [first = '', ...others] = pieces;
        seen.length = 0;
        const answer = await send(begin + first, ...others.filter((piece) => piece !== ''));
        assert.match(answer, /^HTTP\/1\.1 200 OK\r\n.*\r\nContent-Length: 5\r\n\r\ndone\n$/s);
        assert.deepEqual(seen, [{ CNI_COMMAND: 'CHECK', CNI_IFNAME: 'eth0' }, '{"name":"é"}']);
      }),
      { numRuns: 50 },
    ),
  );
});

test('what cannot be taken is refused with a status that sends the caller to the bundle', async () => {
  const serve: Serve = async () => {
    throw new Error('cannot serve');
  };
  await withServer(serve, async () => {
    assert.equal(await askAgent(path, { CNI_COMMAND: 'ADD' }, ' '.repeat(17 << 20)), undefined);
    assert.equal(await askAgent(path, { CNI_COMMAND: 'ADD' }, '{}'), undefined);
    const begin = 'POST /cni/ADD HTTP/1.0\r\nContent-Length: 2\r\n';
    assert.match(await send(begin, `CNI_ARGS: ${'x'.repeat(20_000)}`), /^HTTP\/1\.1 413 /);
  });
});

test('a caller that goes away disturbs nobody', async () => {
  let finish = () => {};
  const begun = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let calls = 0;
  const serve: Serve = async () => {
    if (++calls > 1) return { ok: true, body: 'next\n' };
    finish();
    await new Promise((resolve) => setTimeout(resolve, 50));
    return { ok: true, body: 'x'.repeat(1 << 20) };
  };
  await withServer(serve, async () => {
    const socket = connect(path);
    socket.write('POST /cni/ADD HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}');
    await begun;
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(await askAgent(path, { CNI_COMMAND: 'ADD' }, '{}'), { ok: true, body: 'next\n' });
  });
});

test('only the words of the launcher are a call', () => {
  const call = 'POST /cni/ADD HTTP/1.0\r\nContent-Length: 2\r\n';
  assert.equal(isCall(Buffer.from(`${call}\r\n{}`)), true);
  for (const other of [
    'POST /cni/ADD HTTP/1.1\r\nContent-Length: 2\r\n',
    'POST /cni/ADD HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n',
    'POST /cni/x/y HTTP/1.0\r\nContent-Length: 2\r\n',
    'GET /metrics HTTP/1.0\r\n\r\n',
    '',
  ]) {
    assert.equal(isCall(Buffer.from(other)), false, other);
  }
});
