import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIPv4 } from '../../address/ip.ts';
import { createLog } from '../../log.ts';
import { parseRouterConfig } from '../config/file.ts';
import { VirtualClock } from '../rib/rib.rig.ts';
import { Rib } from '../rib/rib.ts';
import { IPV4_UNICAST } from '../wire/family.ts';
import { encodeMessage, KEEPALIVE } from '../wire/message.ts';
import { CEASE_SUBCODE, cease, hardReset } from '../wire/notification.ts';
import { offer, type Speaker } from './negotiate.ts';
import { Neighbour } from './neighbour.ts';
import type { Transport, TransportEvents } from './transport.ts';

const RESTART_SECONDS = 30;

/** The neighbour of a router in AS `asn` that has the other one for a neighbour, too. */
function sessionOf(asn: number, remote: number, more: Record<string, unknown>) {
  const neighbours = [{ name: 'leaf', address: '10.0.0.2', asn: remote, ...more }];
  const config = { asn, routerId: '10.0.0.1', neighbours };
  return parseRouterConfig(JSON.stringify(config)).neighbours[0] ?? assert.fail('no neighbour');
}

function speakerOf(identifier: string): Speaker {
  return { identifier: parseIPv4(identifier), restarting: false, preserved: new Set([IPV4_UNICAST]) };
}

/** A neighbour that dials into a void where only this test answers. */
function world(theirs: Record<string, unknown>) {
  const clock = new VirtualClock();
  const dialled: { readonly at: number; readonly events: TransportEvents }[] = [];
  const identifier = parseIPv4('10.0.0.1');
  const neighbour = new Neighbour(sessionOf(65001, 65101, { connectRetryTime: 5 }), {
    clock,
    random: () => 1,
    rib: new Rib({ clock, identifier, seed: 1 }),
    log: createLog(() => {}),
    speaker: () => speakerOf('10.0.0.1'),
    dial(_config, events) {
      dialled.push({ at: clock.now(), events });
      const end = { writeUrgent() {}, write: () => true, close() {}, maxMessageSize: 4096 };
      const place = { localAddress: identifier, ports: { localPort: 40_000, remotePort: 179 } };
      return { ...end, ...place } as unknown as Transport;
    },
    report() {},
  });
  const latest = () => dialled.at(-1)?.events ?? assert.fail('nobody was dialled');
  neighbour.start();
  return {
    neighbour,
    latest,
    /** The peer answers the latest attempt. */
    establish() {
      const events = latest();
      events.connected();
      const config = sessionOf(65101, 65001, theirs);
      events.message(encodeMessage(offer(config, speakerOf('10.0.0.2'))), 'OPEN');
      events.message(KEEPALIVE, 'KEEPALIVE');
      assert.equal(neighbour.state, 'Established');
    },
    /** Lets time pass in which every attempt fails. @returns The seconds between attempts. */
    refuse(seconds: number): number[] {
      const before = dialled.length;
      let answered = dialled.length - (neighbour.state === 'Connect' ? 1 : 0);
      for (let step = 0; step < seconds * 10; step++) {
        for (; answered < dialled.length; answered++) dialled[answered]?.events.closed('ECONNREFUSED');
        clock.advance(100);
      }
      const times = dialled.slice(before).map(({ at }) => at);
      return times.slice(1).map((at, index) => Math.round((at - (times[index] ?? 0)) / 1000));
    },
  };
}

const graceful = { gracefulRestart: { restartTime: RESTART_SECONDS } };

test('a peer that restarts is dialled once a second as long as it is waited for, and then as any other', () => {
  const { establish, latest, refuse } = world(graceful);
  establish();
  latest().closed('ECONNRESET');
  const waiting = refuse(RESTART_SECONDS);
  assert.equal(waiting.length >= RESTART_SECONDS - 2, true, `${waiting.length} attempts`);
  assert.deepEqual([...new Set(waiting)], [1]);
  refuse(2);
  assert.deepEqual([...new Set(refuse(20))], [5]);
});

test('it is dialled at leisure again once it has been back', () => {
  const { establish, latest, refuse } = world(graceful);
  establish();
  latest().closed('ECONNRESET');
  refuse(3);
  establish();
  latest().message(encodeMessage(hardReset(cease(CEASE_SUBCODE.administrativeShutdown))), 'NOTIFICATION');
  refuse(6);
  assert.deepEqual([...new Set(refuse(20))], [5]);
});

test('a peer that does not speak of restarts is dialled at leisure when its connection is lost', () => {
  const { establish, latest, refuse } = world({ gracefulRestart: false });
  establish();
  latest().closed('ECONNRESET');
  refuse(6);
  assert.deepEqual([...new Set(refuse(20))], [5]);
});
