import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bird } from './bird.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually, throughout } from './waiting.ts';

// inside 10.1.0.2 – us 10.1.0.1, 10.99.0.1 – them 10.99.0.2, 10.2.0.1 – outside 10.2.0.2
const lab = new Lab('bgpforward');
const us = lab.router('us', 1);
const them = lab.router('them', 2);
const inside = lab.island('inside');
const outside = lab.island('outside');
lab.link(us, ['10.1.0.1/24'], inside, ['10.1.0.2/24']);
lab.link(them, ['10.2.0.1/24'], outside, ['10.2.0.2/24']);
inside.namespace.run('ip', 'route', 'add', 'default', 'via', '10.1.0.1');
outside.namespace.run('ip', 'route', 'add', 'default', 'via', '10.2.0.1');

afterEach(async () => {
  await lab.reset();
  us.namespace.attempt('ip', 'route', 'flush', 'proto', '111');
  // What FRR leaves goes only with its objects.
  for (const { namespace } of [us, them]) namespace.attempt('ip', 'nexthop', 'flush');
});
after(() => lab.close());

const ours = (restartTime = 30) =>
  JSON.stringify({
    asn: 65001,
    routerId: '1.1.1.1',
    networks: ['10.1.0.0/24'],
    kernel: { ranges: ['10.2.0.0/16'] },
    neighbours: [
      {
        name: 'them',
        address: them.ipv4,
        asn: 65002,
        connectRetryTime: 1,
        families: ['ipv4'],
        gracefulRestart: { restartTime },
      },
    ],
  });

const frr = (...more: string[]) =>
  new Frr(
    them,
    `router bgp 65002
 bgp router-id 2.2.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
${more.map((line) => ` ${line}\n`).join('')} neighbor ${us.ipv4} remote-as 65001
 neighbor ${us.ipv4} timers connect 1
 address-family ipv4 unicast
  network 10.2.0.0/24`,
    { zebra: true },
  );

const bird = () =>
  new Bird(
    them,
    `router id 2.2.2.2;
graceful restart wait 20;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; persist; graceful restart; }
protocol direct { ipv4; interface "l*"; }
protocol bgp tombolo {
  local ${them.ipv4} as 65002;
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1;
  graceful restart on; graceful restart time 30;
  ipv4 { import all; export all; };
}`,
  );

/** Our route in the kernel, as its next hop object; nothing while there is none. */
const installed = (): number | undefined => us.namespace.ip('route show 10.2.0.0/24 proto 111')[0]?.nhid;
const theirsIsIn = () => them.namespace.ip('route show 10.1.0.0/24').length === 1;
const reachable = () =>
  eventually(
    'both directions',
    () => installed() !== undefined && theirsIsIn() && inside.namespace.pings('10.2.0.2'),
    20_000,
  );

/** A packet every 20 ms through both routers and back, until stopped; answers how many were lost, and of how many. */
function stream(): { stop(): Promise<{ readonly sent: number; readonly lost: number }> } {
  const words = ['-n', '-q', '-i', '0.02', '10.2.0.2'];
  const ping = inside.namespace.start('ping', words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  ping.stdout?.on('data', (text) => {
    output += text;
  });
  return {
    async stop() {
      // What was sent last needs a moment to come back.
      ping.kill('SIGINT');
      await once(ping, 'close');
      const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(output) ?? [];
      return { sent: Number(sent), lost: Number(sent) - Number(received) };
    },
  };
}

/** At most the packet that was on its way when the stream was stopped. */
async function unharmed(packets: ReturnType<typeof stream>, least: number): Promise<void> {
  const { sent, lost } = await packets.stop();
  assert.ok(sent >= least, `enough packets to tell (value ${sent})`);
  assert.ok(lost <= 1, `${lost} of ${sent} packets were lost`);
}

describe('no packet is lost', () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`while we restart after ${signal}, with FRR waiting for us`, async () => {
      const tombolo = new Tombolo(us, ours());
      frr();
      await reachable();
      const before = installed();
      const packets = stream();
      await sleep(300);
      await tombolo.stop(signal);
      assert.equal(installed(), before, 'the kernel keeps the route of the dead');
      await sleep(1000);
      assert.ok(theirsIsIn(), 'the peer keeps ours');
      tombolo.restart();
      await eventually('the session', () => tombolo.isUp('them'), 60_000);
      await eventually('the end of the deferral', () => /"announcing"/.test(tombolo.daemon.log), 60_000);
      await sleep(500);
      assert.equal(installed(), before, 'it was adopted as it was');
      await unharmed(packets, 75);
    });
  }

  test('while BIRD restarts, with us waiting for it', async () => {
    const tombolo = new Tombolo(us, ours());
    const peer = bird();
    await reachable();
    const before = installed();
    const packets = stream();
    await sleep(300);
    await peer.daemon.kill();
    await eventually('we notice', () => !tombolo.isUp('them'));
    assert.equal(installed(), before, 'the stale route is used');
    await sleep(700);
    peer.restart();
    await eventually('the session', () => tombolo.isUp('them'), 60_000);
    await sleep(1000);
    assert.equal(installed(), before);
    await unharmed(packets, 75);
  });
});

test('a peer that dies before it has said all it has, when we have just come back, takes no route along', async () => {
  const tombolo = new Tombolo(us, ours());
  // FRR says what it knows, and that this is all, no sooner than three seconds after a session has come up.
  const peer = frr('coalesce-time 3000');
  await reachable();
  const before = installed();
  await tombolo.stop('SIGKILL');
  tombolo.restart();
  await eventually('the session', () => tombolo.isUp('them'), 20_000);
  assert.equal(tombolo.status().deferring, true, 'it has said nothing yet');
  await peer.daemon.kill();
  await eventually('its end is noticed', () => !tombolo.isUp('them'));
  await throughout('the route, as it was', 2_000, () => installed() === before);
  peer.restart();
  await eventually('the end of the deferral', () => !tombolo.status().deferring, 20_000);
  assert.equal(installed(), before);
  assert.equal(tombolo.isUp('them'), true);
});

test('who is killed for good is given up by its peer, and takes up what it finds when it returns', async () => {
  const tombolo = new Tombolo(us, ours(2));
  frr();
  await reachable();
  const before = installed();
  await tombolo.daemon.kill();
  assert.equal(installed(), before);
  assert.ok(inside.namespace.pings('10.2.0.2'), 'right after');
  await eventually('the peer gives up', () => !theirsIsIn());
  assert.equal(installed(), before, 'the kernel has no opinion');
  tombolo.restart();
  await reachable();
  assert.equal(installed(), before);
});

test('a link that goes takes the route along, and brings it back', async () => {
  const tombolo = new Tombolo(us, ours());
  frr();
  await reachable();
  us.namespace.run('ip', 'link', 'set', 'eth0', 'down');
  await eventually('no route', () => installed() === undefined);
  assert.deepEqual(us.namespace.ip('nexthop show proto 111'), [], 'and no object is left');
  await sleep(500);
  us.namespace.run('ip', 'link', 'set', 'eth0', 'up');
  await reachable();
  assert.ok(tombolo.isUp('them'));
});
