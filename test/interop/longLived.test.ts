import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bird } from './bird.ts';
import { Lab } from './lab.ts';
import type { Router } from './router.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

const lab = new Lab('bgpllgr');
const us = lab.router('us', 1);
const mortal = lab.router('mortal', 2);
const aware = lab.router('aware', 3);
const unaware = lab.router('unaware', 4);

after(() => lab.close());

const RESTART_TIME = 2;
const STALE_TIME = 4;

function bird(router: Router, asn: number, statics: string, options: string): Bird {
  return new Bird(
    router,
    `router id ${router.ipv4};
protocol device {}
protocol static { ipv4; ${statics} }
protocol bgp tombolo {
  local ${router.ipv4} as ${asn};
  neighbor ${us.ipv4} as 65001;
  connect delay time 1; connect retry time 1; ${options}
  ipv4 { import all; export where source = RTS_STATIC; };
}`,
  );
}

test('routes of a peer that stays away become the last resort of those who know that, and then go', async () => {
  const gracefulRestart = { restartTime: 120, longLivedStaleTime: STALE_TIME };
  const tombolo = new Tombolo(
    us,
    JSON.stringify({
      asn: 65001,
      routerId: '1.1.1.1',
      defaults: { families: ['ipv4'], connectRetryTime: 1, gracefulRestart },
      neighbours: [
        { name: 'mortal', address: mortal.ipv4, asn: 65002 },
        { name: 'aware', address: aware.ipv4, asn: 65003 },
        { name: 'unaware', address: unaware.ipv4, asn: 65004 },
      ],
    }),
  );
  const restarts = `graceful restart on; graceful restart time ${RESTART_TIME};
  long lived graceful restart on; long lived stale time 60;`;
  const peer = bird(mortal, 65002, 'route 10.2.0.0/24 blackhole;', restarts);
  const knows = bird(aware, 65003, '', 'long lived graceful restart on;');
  const other = bird(unaware, 65004, '', 'long lived graceful restart off;');
  const has = (watcher: Bird) => watcher.learned(4).includes('10.2.0.0/24');
  await eventually('the route', () => has(knows) && has(other), 60_000);

  const died = Date.now();
  const since = () => (Date.now() - died) / 1000;
  await peer.daemon.kill();
  const marked = () =>
    /BGP\.community: .*\(65535,6\)/.test(knows.birdc('show', 'route', 'all', '10.2.0.0/24'));
  assert.ok(has(knows) && has(other), 'it is not missed at first');
  await eventually('LLGR_STALE', marked);
  assert.ok(since() >= RESTART_TIME - 0.2, `not before the restart time: ${since()} s`);
  await eventually('gone where LLGR_STALE means nothing', () => !has(other));
  assert.ok(has(knows));
  await eventually('gone altogether', () => !has(knows));
  assert.ok(since() >= RESTART_TIME + STALE_TIME - 0.3, `not before its time: ${since()} s`);
  assert.equal(tombolo.learned(4).length, 0);
});
