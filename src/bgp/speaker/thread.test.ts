import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseRouterConfig } from '../config/file.ts';
import type { SpeakerStatus } from './status.ts';
import { SpeakerThread, type ThreadOptions } from './thread.ts';

/** Of this process alone, and none that the kernel gives out. */
const PORT = 20_000 + (process.pid % 10_000);

const LIMITED = { timeout: 120_000 };

const config = (us: number, them: number) =>
  parseRouterConfig(`
asn: ${65000 + us}
routerId: 127.1.0.${us}
listen: ["127.1.0.${us}:${PORT}"]
neighbours: [{address: "127.1.0.${them}:${PORT}", asn: ${65000 + them}, sourceAddress: 127.1.0.${us}, connectRetryTime: 1}]
`);

function start(us: number, them: number, more: Partial<ThreadOptions> = {}): Promise<SpeakerThread> {
  return SpeakerThread.start({
    ...more,
    config: config(us, them),
    state: undefined,
    logLevel: 'error',
    write: () => {},
    failed: (error) => {
      throw error;
    },
  });
}

async function state(thread: SpeakerThread): Promise<SpeakerStatus['neighbours'][number] | undefined> {
  const { body } = await thread.ask('GET', '/v1/bgp/neighbors');
  return (body as SpeakerStatus).neighbours[0];
}

test('two speakers in threads find each other, answer, take a configuration and end', LIMITED, async () => {
  const a = await start(1, 2);
  const b = await start(2, 1);
  try {
    for (let tries = 0; (await state(a))?.state !== 'Established'; tries++) {
      assert.ok(tries < 600, 'no session within a minute');
      await sleep(100);
    }
    a.configure({ ...config(1, 2), neighbours: [] });
    for (let tries = 0; (await state(b))?.state === 'Established'; tries++) {
      assert.ok(tries < 100, 'the neighbour was not removed within ten seconds');
      await sleep(100);
    }
    assert.match((await state(b))?.lastReset?.reason ?? '', /Peer De-configured/);
    assert.equal(await state(a), undefined);
  } finally {
    await Promise.all([a.stop('restart'), b.stop('shutdown', 'done')]);
  }
});

test('an address that is taken is an error of the start', LIMITED, async () => {
  const a = await start(3, 4);
  try {
    await assert.rejects(start(3, 4), new RegExp(`Cannot listen on 127\\.1\\.0\\.3:${PORT}: .*EADDRINUSE`));
  } finally {
    await a.stop('restart');
  }
});

/** What a thread begins with that is not as it should be. */
const entry = (code: string) => new URL(`data:text/javascript,${encodeURIComponent(code)}`);
const STARTED =
  "import { parentPort } from 'node:worker_threads'; parentPort.postMessage({ type: 'started' });";

test('a thread that ends before it has said anything is an error of the start', LIMITED, async () => {
  await assert.rejects(
    start(5, 6, { entry: entry('process.exit(3)') }),
    /the speaker's thread has ended with 3/,
  );
});

test('a thread that has failed to start is ended, whatever would keep it', LIMITED, async () => {
  const failed = STARTED.replace("'started'", "'failed', error: 'no memory'");
  const opened = () => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length;
  const before = opened();
  await assert.rejects(start(5, 6, { entry: entry(`${failed} setInterval(() => {}, 1000);`) }), /no memory/);
  for (let tries = 0; opened() > before; tries++) {
    assert.ok(tries < 600, 'the thread is still there after a minute');
    await sleep(100);
  }
});

for (const [how, code] of [
  ['keeps something open', 'setInterval(() => {}, 1000);'],
  ['never comes back', 'for (;;);'],
]) {
  test(
    `a thread that ${how} when it is to stop is ended, and nobody waits for its answers`,
    LIMITED,
    async () => {
      const thread = await start(5, 6, { entry: entry(`${STARTED} ${code}`), stopTime: 200 });
      const asked = thread.ask('GET', '/v1/bgp/neighbors');
      await thread.stop('restart');
      assert.equal((await asked).status, 503);
      assert.equal((await thread.ask('GET', '/v1/bgp/neighbors')).status, 503);
    },
  );
}
