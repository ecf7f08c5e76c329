import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createRawServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { handleVerb } from './agentHandler.ts';
import { askAgent } from './agentSocket.ts';

const directory = mkdtempSync(join(tmpdir(), 'tombolo-agent-socket-'));
const path = join(directory, 'agent.sock');
after(() => rmSync(directory, { recursive: true }));

test('variables and input reach the agent unchanged, and its answer comes back', async () => {
  const seen: unknown[] = [];
  const server = createServer((request, response) =>
    handleVerb(request, response, async (variables, input) => {
      seen.push(variables, input);
      return { ok: variables.CNI_COMMAND === 'ADD', body: `{"verb":"${variables.CNI_COMMAND} é"}` };
    }),
  );
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    const variables = { CNI_COMMAND: 'ADD', CNI_ARGS: 'K=ü 漢;X=a: b', CNI_NETNS: '' };
    assert.deepEqual(await askAgent(path, variables, '{"name":"ö"}'), { ok: true, body: '{"verb":"ADD é"}' });
    assert.deepEqual(seen, [variables, '{"name":"ö"}']);
    const failed = await askAgent(path, { ...variables, CNI_COMMAND: 'DEL' }, '{}');
    assert.deepEqual(failed, { ok: false, body: '{"verb":"DEL é"}' });
  } finally {
    server.close();
  }
});

test('requests the handler cannot take are refused with a status that sends the caller to the bundle', async () => {
  const server = createServer((request, response) =>
    handleVerb(request, response, async () => {
      throw new Error('served');
    }),
  );
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    assert.equal(await askAgent(path, { CNI_COMMAND: 'ADD' }, ' '.repeat(17 << 20)), undefined);
    assert.equal(await askAgent(path, { CNI_COMMAND: 'ADD' }, '{}'), undefined);
    assert.equal(await askAgent(path, { CNI_COMMAND: 'x/y' }, '{}'), undefined);
  } finally {
    server.close();
  }
});

test('values HTTP would change are not handed over', async () => {
  for (const CNI_IFNAME of [' eth0', 'eth0 ', 'a\nb', 'a\0b', '\t']) {
    assert.equal(await askAgent(path, { CNI_COMMAND: 'ADD', CNI_IFNAME }, '{}'), undefined, CNI_IFNAME);
  }
});

test('no socket, a cut connection and anything but a complete answer count as no agent', async () => {
  assert.equal(await askAgent(join(directory, 'none'), { CNI_COMMAND: 'ADD' }, '{}'), undefined);
  const answers = [
    '',
    'HTTP/1.1 200 OK\r\n\r\n{}',
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}',
    'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}',
    'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n',
  ];
  for (const text of answers) {
    const server = createRawServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(text));
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    assert.equal(await askAgent(path, { CNI_COMMAND: 'ADD' }, '{}'), undefined, text);
    await new Promise((resolve) => server.close(resolve));
  }
});
