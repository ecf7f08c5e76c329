import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bird } from './bird.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';
import { updateMessage, WirePeer } from './wirePeer.ts';

const lab = new Lab('bgpslow');
const us = lab.router('us', 1);
const feeder = lab.router('feeder', 2);
const slow = lab.router('slow', 3);
const quick = lab.router('quick', 4);

after(() => lab.close());

// The kernels' buffers, in bytes: small, so that a peer that does not read is felt soon.
us.namespace.run('sysctl', '-qw', 'net.ipv4.tcp_wmem=4096 16384 65536');
slow.namespace.run('sysctl', '-qw', 'net.ipv4.tcp_rmem=4096 16384 65536');

const ROUTES = 20_000;
const SEND_HOLD_TIME = 15;

/** Every route with a community of its own: sixty bytes each. */
function* table(): Generator<Buffer> {
  for (let number = 0; number < ROUTES; number++) {
    const community = Buffer.from([0xc0, 8, 4, 0xfd, 0xea, number >> 8, number & 255]);
    const prefix = `10.${number >> 8}.${number & 255}.0`;
    yield updateMessage(65002, feeder.ipv4, [[prefix, 24]], community);
  }
}

test('a peer that stops reading holds nobody back, and is given up when its time is over', async () => {
  const tombolo = new Tombolo(
    us,
    JSON.stringify({
      asn: 65001,
      routerId: '1.1.1.1',
      defaults: { families: ['ipv4'], connectRetryTime: 1 },
      neighbours: [
        { name: 'feeder', address: feeder.ipv4, asn: 65002, passive: true },
        { name: 'slow', address: slow.ipv4, asn: 65003, passive: true, sendHoldTime: SEND_HOLD_TIME },
        { name: 'quick', address: quick.ipv4, asn: 65004 },
      ],
    }),
  );
  const witness = new Bird(
    quick,
    `router id 4.4.4.4;
protocol device {}
protocol bgp tombolo {
  local ${quick.ipv4} as 65004;
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export none; };
}`,
  );
  await eventually('the quick one', () => tombolo.isUp('quick'));
  const deaf = await new WirePeer(slow, us.ipv4).establish({
    asn: 65003,
    identifier: '3.3.3.3',
    holdTime: 9,
  });
  deaf.socket.pause();
  const source = await new WirePeer(feeder, us.ipv4).establish({
    asn: 65002,
    identifier: '2.2.2.2',
    holdTime: 90,
  });
  const began = Date.now();
  source.socket.write(Buffer.concat([...table()]));
  const count = () => Number(/(\d+) of \d+ routes/.exec(witness.birdc('show', 'route', 'count'))?.[1]);
  await eventually('all routes at the quick one', () => count() === ROUTES, 14_000);
  assert.ok(tombolo.isUp('slow'), 'it sends KEEPALIVEs, so the hold timer has nothing against it');

  const reset = await eventually('the end', () => tombolo.neighbour('slow')?.lastReset, 60_000);
  const seconds = (Date.now() - began) / 1000;
  assert.match(reset.reason, /send hold timer/i);
  assert.ok(seconds >= SEND_HOLD_TIME - 0.5, `not before its time: after ${seconds.toFixed(1)} s`);
  assert.ok(tombolo.isUp('quick') && tombolo.isUp('feeder'));
});
