// The launcher alone: beside it lies a program that only tells what it was given, and agents misbehave.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

const directory = mkdtempSync(join(tmpdir(), 'tombolo-launcher-'));
const socketPath = join(directory, 'agent.sock');
const input = JSON.stringify({ cniVersion: '1.1.0', name: 'pods', type: 'tombolo', agentSocket: socketPath });
const servers: Server[] = [];

before(() => {
  copyFileSync('dist/cni/tombolo', join(directory, 'tombolo'));
  const impatient = ['-O2', '-static', '-DANSWER_SECONDS=1', '-o', join(directory, 'impatient')];
  execFileSync('gcc', [...impatient, 'cni/launcher.c']);
  const bundle = join(directory, 'tombolo.cjs');
  writeFileSync(
    bundle,
    '#!/bin/sh\necho "bundle $CNI_COMMAND $TOMBOLO_AGENT"\ncase $CNI_COMMAND in ADD | DEL) cat ;; esac\n',
  );
  chmodSync(bundle, 0o755);
});

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  rmSync(socketPath, { force: true });
});

after(() => rmSync(directory, { recursive: true, force: true }));

interface Call {
  variables?: Record<string, string>;
  input?: string | null;
  program?: string;
}

/** Runs the launcher; an input of `null` is a pipe that stays open. */
function launch(call: Call = {}): Promise<{ code: number | null; output: string }> {
  const child = spawn(join(directory, call.program ?? 'tombolo'), {
    env: { PATH: process.env.PATH, CNI_COMMAND: 'ADD', CNI_IFNAME: 'eth0', ...call.variables },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stdin.on('error', () => {});
  if (call.input !== null) child.stdin.end(call.input ?? input);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      child.stdin.destroy();
      resolve({ code, output: Buffer.concat(output).toString() });
    });
  });
}

/** An agent that does `respond` once it has the whole request. */
function agent(respond: (socket: Socket, request: string) => void, path = socketPath): Promise<void> {
  const server = createServer((socket) => {
    let request = '';
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      request += chunk.toString('latin1');
      const blank = request.indexOf('\r\n\r\n');
      const length = Number(/Content-Length: (\d+)/.exec(request)?.[1]);
      if (blank >= 0 && request.length - blank - 4 >= length) respond(socket, request);
    });
  });
  servers.push(server);
  return new Promise((resolve) => server.listen(path, resolve));
}

const http = (status: number, body: string, length = Buffer.byteLength(body)) =>
  `HTTP/1.1 ${status} Whatever\r\nConnection: close\r\ncontent-length: ${length}\r\n\r\n${body}`;

const fellBack = { code: 0, output: `bundle ADD silent\n${input}` };
const leftToBundle = (text: string) => ({ code: 0, output: `bundle ADD \n${text}` });

test('the agent is asked with every CNI variable, and its result is printed with exit code 0', async () => {
  let request = '';
  await agent((socket, text) => {
    request = text;
    socket.end(http(200, '{"cniVersion":"1.1.0"}\n'));
  });
  const variables = { CNI_CONTAINERID: 'c1', CNI_ARGS: 'A=1;B=ü', CNI_NETNS: '', OTHER: 'x' };
  assert.deepEqual(await launch({ variables }), { code: 0, output: '{"cniVersion":"1.1.0"}\n' });
  const [head = '', body] = request.split('\r\n\r\n');
  assert.equal(body, input);
  const [start, ...headers] = head.split('\r\n');
  assert.equal(start, 'POST /cni/ADD HTTP/1.0');
  assert.deepEqual(headers.sort(), [
    `CNI_ARGS: A=1;B=${Buffer.from('ü').toString('latin1')}`,
    'CNI_COMMAND: ADD',
    'CNI_CONTAINERID: c1',
    'CNI_IFNAME: eth0',
    'CNI_NETNS: ',
    `Content-Length: ${input.length}`,
  ]);
});

test('an error of the agent is printed with exit code 1', async () => {
  await agent((socket) => socket.end(http(500, '{"code":7}')));
  assert.deepEqual(await launch(), { code: 1, output: '{"code":7}' });
});

test('an empty result prints nothing', async () => {
  await agent((socket) => socket.end(http(200, '')));
  assert.deepEqual(await launch({ variables: { CNI_COMMAND: 'DEL' } }), { code: 0, output: '' });
});

test('an answer that trickles in, on a connection left open, is complete when its length is', async () => {
  const text = http(200, 'x'.repeat(70_000));
  await agent(async (socket) => {
    for (let at = 0; at < text.length; at += 7_000) {
      socket.write(text.slice(at, at + 7_000));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  assert.deepEqual(await launch(), { code: 0, output: 'x'.repeat(70_000) });
});

test('a request of megabytes arrives whole', async () => {
  const large = JSON.stringify({ ...JSON.parse(input), filler: 'x'.repeat(3_000_000) });
  let received = 0;
  await agent((socket, request) => {
    received = request.length - request.indexOf('\r\n\r\n') - 4;
    socket.end(http(200, 'ok'));
  });
  assert.deepEqual(await launch({ input: large }), { code: 0, output: 'ok' });
  assert.equal(received, large.length);
});

test('without a socket the bundle runs, with the same input', async () => {
  assert.deepEqual(await launch(), fellBack);
});

test('a socket nobody listens on is like none', async () => {
  writeFileSync(socketPath, '');
  assert.deepEqual(await launch(), fellBack);
});

test('whatever is not a complete answer is left to the bundle', async () => {
  const answers = {
    'a connection closed at once': '',
    'no HTTP': 'SSH-2.0-OpenSSH\r\n',
    'bytes of all kinds': '\0\x01\xff\r\n\r\n\0',
    'another status': http(404, 'no such thing'),
    'a status that only begins like one of ours': http(2000, 'x'),
    'a head cut short': 'HTTP/1.1 200 OK\r\nContent-Le',
    'a body cut short': http(200, '{"cniVersion":', 500),
    'a body longer than it says': http(200, '{"cniVersion":"1.1.0"}', 3),
    'no length': 'HTTP/1.1 200 OK\r\n\r\n{}',
    'a length below zero': http(200, '{}', -2),
    'a length beyond 64 bits': 'HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}',
    'a length in the body': 'HTTP/1.1 200 OK\r\n\r\nContent-Length: 2\r\n\r\n',
    'an error without a body': http(500, ''),
    'an answer above a megabyte': http(200, 'x'.repeat(1 << 20)),
  };
  for (const [name, bytes] of Object.entries(answers)) {
    await agent((socket) => socket.end(bytes, 'latin1'));
    assert.deepEqual(await launch(), fellBack, name);
    for (const server of servers.splice(0)) server.close();
    rmSync(socketPath, { force: true });
  }
});

test('an agent that answers before it has read the request counts as one that does not', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.destroy();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const large = JSON.stringify({ ...JSON.parse(input), filler: 'x'.repeat(3_000_000) });
  assert.deepEqual(await launch({ input: large }), { code: 0, output: `bundle ADD silent\n${large}` });
});

test('an agent that never answers costs the time it is allowed and no more', async () => {
  await agent(() => {});
  const start = performance.now();
  assert.deepEqual(await launch({ program: 'impatient' }), fellBack);
  const seconds = (performance.now() - start) / 1000;
  assert.ok(seconds > 0.9 && seconds < 15, `${seconds} s`);
});

test('an agent that trickles for ever costs no more either', async () => {
  await agent((socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n');
    const timer = setInterval(() => socket.write('x'), 20);
    socket.on('close', () => clearInterval(timer));
  });
  assert.deepEqual(await launch({ program: 'impatient' }), fellBack);
});

test('an agent that takes no connections costs no more either', async () => {
  // A backlog of one that nobody accepts from: further connects block.
  const script =
    'import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(0)\n' +
    'c=[socket.socket(socket.AF_UNIX) for _ in range(3)]\n[(x.setblocking(False),x.connect_ex(sys.argv[1])) for x in c]\n' +
    'print("full",flush=True)\ntime.sleep(30)';
  const server = spawn('python3', ['-c', script, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await new Promise((resolve) => server.stdout.once('data', resolve));
    assert.deepEqual(await launch({ program: 'impatient' }), fellBack);
  } finally {
    server.kill();
  }
});

test('VERSION, no verb and unknown verbs never touch an input that stays open', async () => {
  for (const verb of ['VERSION', '', 'add']) {
    assert.deepEqual(await launch({ variables: { CNI_COMMAND: verb }, input: null }), {
      code: 0,
      output: `bundle ${verb} \n`,
    });
  }
});

test('what HTTP would change on the way is left to the bundle', async () => {
  await agent((socket) => socket.end(http(200, 'asked')));
  const values = ['a\nCNI_NETNS: /proc/1/ns/net', 'a\r\n\r\n{}', ' eth0', 'eth0 ', 'a\tb', 'a\x7f'];
  for (const value of values) {
    assert.deepEqual(await launch({ variables: { CNI_IFNAME: value } }), leftToBundle(input), value);
  }
  assert.deepEqual(await launch({ variables: { 'CNI_a b': 'x' } }), leftToBundle(input));
  assert.deepEqual(await launch({ variables: { CNI_ARGS: 'x'.repeat(20_000) } }), leftToBundle(input));
});

test('a socket path that takes JSON to understand is left to the bundle', async () => {
  const other = join(directory, 'other.sock');
  await agent((socket) => socket.end(http(200, 'asked')), other);
  assert.deepEqual(await launch({ input: `{"agentSocket"\n :\t"${other}"}` }), { code: 0, output: 'asked' });
  const inputs = [
    `{"agentSocket":"${other.replace('/', '\\/')}"}`,
    `{"agentS\\u006fcket":"${other}"}`,
    `{"agentSocket":"${other}","args":{"agentSocket":"${other}"}}`,
    `{"agentSocket":"other.sock"}`,
    `{"agentSocket":"/${'x'.repeat(200)}"}`,
    `{"agentSocket":7}`,
    `{"agentSocket":"${other}`.slice(0, 25),
    `{"agentSocket"`,
    `{"agentSocket":"`,
  ];
  for (const text of inputs) assert.deepEqual(await launch({ input: text }), leftToBundle(text), text);
  for (const server of servers.splice(0)) server.close();
});

test('without a bundle and without an agent there is a CNI error to try again later', async () => {
  const alone = mkdtempSync(join(tmpdir(), 'tombolo-alone-'));
  try {
    copyFileSync(join(directory, 'tombolo'), join(alone, 'tombolo'));
    const child = spawn(join(alone, 'tombolo'), {
      env: { CNI_COMMAND: 'ADD' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child.stdin.end(input);
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    const code = await new Promise((resolve) => child.on('close', resolve));
    const error: unknown = JSON.parse(Buffer.concat(output).toString());
    assert.equal(code, 1);
    assert.ok(typeof error === 'object' && error && 'code' in error && error.code === 11);
  } finally {
    rmSync(alone, { recursive: true, force: true });
  }
});
