import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { Bird } from './bird.ts';
import { Lab } from './lab.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

const lab = new Lab('bgpreconf');
const us = lab.router('us', 1);
const them = lab.router('them', 2);

afterEach(() => lab.reset());
after(() => lab.close());

const ours = (changes: Record<string, unknown> = {}, neighbour: Record<string, unknown> = {}) =>
  JSON.stringify({
    asn: 64512,
    routerId: '1.1.1.1',
    networks: ['10.1.0.0/24'],
    neighbours: [
      { name: 'them', address: them.ipv4, asn: 64512, connectRetryTime: 1, families: ['ipv4'], ...neighbour },
    ],
    ...changes,
  });

const bird = (routes = 'route 10.2.0.0/24 blackhole;') =>
  new Bird(
    them,
    `router id 2.2.2.2;
protocol device {}
protocol static { ipv4; ${routes} }
protocol bgp tombolo {
  local ${them.ipv4} as 64512;
  neighbor ${us.ipv4} as 64512;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export all; next hop self; };
}`,
  );

const sessions = (tombolo: Tombolo) => tombolo.neighbour('them')?.established;
const inKernel = () => us.namespace.ip('route show proto 111').map(({ dst }) => dst);

test('the kernel’s routes come and go with the option, under a session that stays', async () => {
  const tombolo = new Tombolo(us, ours());
  bird();
  await eventually('the route', () => tombolo.learned(4).length === 1);
  assert.deepEqual(inKernel(), []);
  tombolo.configure(ours({ kernel: { ranges: ['10.2.0.0/16'] } }));
  await eventually('the route in the kernel', () => inKernel().join() === '10.2.0.0/24');
  tombolo.configure(ours());
  await eventually('no route in the kernel', () => inKernel().length === 0);
  assert.equal(sessions(tombolo), 1);
  tombolo.configure(ours({ kernel: { ranges: ['10.2.0.0/16'] } }));
  await eventually('the route once more', () => inKernel().join() === '10.2.0.0/24');
});

test('a new router identifier needs a new session and no new process', async () => {
  const tombolo = new Tombolo(us, ours());
  const peer = bird();
  await eventually('the session', () => tombolo.isUp('them'));
  const known = () => /Neighbor ID:\s+(\S+)/.exec(peer.birdc('show', 'protocols', 'all', 'tombolo'))?.[1];
  assert.equal(known(), '1.1.1.1');
  tombolo.configure(ours({ routerId: '1.1.1.2' }));
  await eventually('the new identifier', () => known() === '1.1.1.2');
  await eventually('the route', () => tombolo.learned(4).length === 1);
  assert.equal(sessions(tombolo), 2);
  assert.ok(tombolo.daemon.running);
});

test('a new cluster identifier decides about loops at once, under a session that stays', async () => {
  const reflects = { reflectorClient: true };
  const tombolo = new Tombolo(us, ours({ clusterId: '192.0.2.1' }, reflects));
  new Bird(
    them,
    `router id 2.2.2.2;
protocol device {}
protocol static { ipv4; route 10.2.0.0/24 blackhole; }
protocol bgp tombolo {
  local ${them.ipv4} as 64512;
  neighbor ${us.ipv4} as 64512;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export filter { bgp_cluster_list.add(192.0.2.2); accept; }; next hop self; };
}`,
  );
  await eventually('the route', () => tombolo.learned(4).length === 1);
  tombolo.configure(ours({ clusterId: '192.0.2.2' }, reflects));
  await eventually('a loop', () => tombolo.learned(4).length === 0);
  tombolo.configure(ours({ clusterId: '192.0.2.1' }, reflects));
  await eventually('no loop', () => tombolo.learned(4).length === 1);
  assert.equal(sessions(tombolo), 1);
});

test('a limit of prefixes warns before it is reached', async () => {
  const routes = Array.from({ length: 6 }, (_, index) => `route 10.3.${index}.0/24 blackhole;`).join(' ');
  const tombolo = new Tombolo(us, ours({}, { prefixLimit: { limit: 10, warningPercent: 50 } }));
  bird(routes);
  await eventually('the warning', () => /"prefix limit".*"warning"/.test(tombolo.daemon.log));
  await eventually('all routes', () => tombolo.learned(4).length === 6);
  assert.ok(tombolo.isUp('them'));
  assert.doesNotMatch(tombolo.daemon.log, /"exceeded"/);
});
