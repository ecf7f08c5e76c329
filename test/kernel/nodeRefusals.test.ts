import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { counts } from './counting.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, type Seen, seenOn } from './nodesRig.ts';
import {
  addressOf,
  announce,
  expose,
  FAMILIES,
  nodePortOf,
  OUTSIDE,
  outsideOf,
  peerOf,
  podAddress,
  serve,
  tcp,
  udp,
  VIP,
} from './outsideWorld.ts';
import { PacketSocket } from './packetSocket.ts';
import { udp as datagram, frame } from './packets.ts';

const namespaces = new TestNamespaces('tboutrefuse');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

/** "At once": before a first SYN is repeated, which is after a second. */
const AT_ONCE_MS = 950;

/** How long a client waits for a refusal, from inside its process: starting Node takes longer than all the rest. */
function connectTime(from: TestNamespace, address: string, port: number): { code: string; ms: number } {
  const script = `const began = performance.now(); const s = require('net').connect(${port}, '${address}'); const say = (code) => {
    console.log(JSON.stringify({ code, ms: performance.now() - began })); process.exit(); }; s.on('error', (e) => say(e.code)); s.on('connect', () => say('connected'));
    setTimeout(() => say('timeout'), 3000);`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout);
}

/** So many attempts at once: how many were refused, and how many have heard nothing. */
function flood(from: TestNamespace, address: string, port: number, count: number) {
  const script = `const net = require('net'); let refused = 0, quiet = 0, left = ${count};
    const end = () => { if (--left === 0) { console.log(JSON.stringify({ refused, quiet })); process.exit(); } };
    for (let i = 0; i < ${count}; i++) { const s = net.connect(${port}, '${address}'); s.setTimeout(400, () => { quiet++; s.destroy(); end(); });
      s.on('error', (e) => { if (e.code === 'ECONNREFUSED') refused++; end(); }); }`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout) as {
    refused: number;
    quiet: number;
  };
}

const udp9 = () => datagram({ from: 9, to: 9, payload: 'x' });

function ping(from: TestNamespace, address: string): void {
  from.attempt('ping', '-c1', '-W1', address);
}

/** Also of one that is no fabric's. */
const seenIn = (namespace: TestNamespace, body: () => unknown) => seenOn(namespace, 'eth0', body);

/** Of errors not what they quote. */
function to(seen: readonly Seen[], address: string): string[] {
  return seen
    .flatMap(({ outer }) => outer.split(' about [')[0] ?? [])
    .filter((text) => text.includes(`> ${address} ttl`));
}

describe('a client outside that cannot be served', () => {
  let nodes: NodesRig;
  let first: RigNode;
  let overlaid: RigNode;
  let third: RigNode;
  let outside: TestNamespace;
  let server: Pod;
  let remote: Pod;
  let peer: Pod;

  before(async () => {
    nodes = new NodesRig(namespaces, 'tboref', [
      { routing: 'underlay' },
      { routing: 'overlay', config: { masquerade: true } },
      { routing: 'underlay' },
    ]);
    [first, overlaid, third] = [nodes.node(1), nodes.node(2), nodes.node(3)];
    outside = outsideOf(namespaces, 'tboref', nodes);
    await nodes.start();
    server = await first.rig.pod('server');
    remote = await overlaid.rig.pod('remote');
    peer = await third.rig.pod('peer');
    await Promise.all([outside, first.rig.node, server.namespace].map(serve));
    // The node's own device computes checksums of what leaves, so that the wire has whole ones to be looked at.
    first.rig.node.run('ethtool', '-K', 'up0', 'tx', 'off');
  });
  after(async () => {
    await nodes?.remove();
    namespaces.close();
  });

  for (const family of FAMILIES) {
    const vip = VIP[family];
    const here = () => [{ pod: server, node: first.name }];
    const publish = (backends = here(), spec = {}) =>
      expose(nodes.store, { family, spec, backends, ingress: [vip] });

    test(`is told so at once for another port of an announced address (IPv${family})`, async () => {
      publish();
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), OUTSIDE[family]));
      const before = (await counts(first)).get('outside_no_such_port') ?? 0;
      const seen = await seenOn(nodes.fabric, first.port, () => {
        const { code, ms } = connectTime(outside, vip, 81);
        assert.equal(code, 'ECONNREFUSED');
        assert.ok(ms < AT_ONCE_MS, `${ms} ms`);
      });
      const answers = seen.filter(({ outer }) => outer.includes(`${vip} > ${OUTSIDE[family]}`));
      assert.equal(answers.length, 1, seen.map(({ outer }) => outer).join('\n'));
      assert.match(answers[0]?.outer ?? '', /tcp 81 > \d+ R/);
      assert.doesNotMatch(answers[0]?.outer ?? '', /\(bad/);
      assert.equal((await counts(first)).get('outside_no_such_port'), before + 1);
    });

    test(`is refused none of the node's own ports where a load balancer names the node (IPv${family})`, async () => {
      const own = addressOf(first, family);
      expose(nodes.store, { family, backends: here(), ingress: [own] });
      await eventually(() => assert.equal(peerOf(tcp(outside, own, 80)), OUTSIDE[family]));
      assert.equal(peerOf(tcp(outside, own)), OUTSIDE[family]);
      assert.equal(peerOf(tcp(first.rig.node, OUTSIDE[family])), own);
    });

    test(`by UDP too, with datagrams in fragments as well (IPv${family})`, async () => {
      publish();
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), OUTSIDE[family]));
      assert.equal(udp(outside, vip, 81), 'ECONNREFUSED');
      assert.equal(udp(outside, vip, 81, 4000), 'ECONNREFUSED');
    });

    test(`and what has no ports is answered as prohibited (IPv${family})`, () => {
      const { stdout, stderr } = outside.attempt('ping', '-c1', '-W1', vip);
      assert.match(stdout + stderr, /Protocol Unreachable|Administratively prohibited/i);
    });

    test(`is told so where a service has no backend (IPv${family})`, async () => {
      publish([]);
      await eventually(() => assert.equal(tcp(outside, vip, 80), 'ECONNREFUSED'));
      assert.equal(udp(outside, vip, 80), 'ECONNREFUSED');
      assert.equal(tcp(outside, addressOf(first, family), nodePortOf(family)), 'ECONNREFUSED');
      assert.ok(((await counts(first)).get('outside_no_backend') ?? 0) >= 3);
    });

    test(`or none on this node, where it may have no other (IPv${family})`, async () => {
      publish([{ pod: remote, node: overlaid.name }], { externalTrafficPolicy: 'Local' });
      await eventually(() => assert.equal(tcp(outside, vip, 80), 'ECONNREFUSED'));
    });

    test(`through a tunnel it is told so through the tunnel (IPv${family})`, async () => {
      // Of the node itself there is no tunnel over IPv6: pods' own addresses come through it, and node ports are at IPv4's.
      publish([], { externalTrafficPolicy: 'Local' });
      const to = addressOf(first, family);
      await eventually(() => assert.equal(tcp(outside, to, nodePortOf(family)), 'ECONNREFUSED'));
      const seen = await seenOn(nodes.fabric, overlaid.port, () => {
        const { code, ms } = connectTime(remote.namespace, to, nodePortOf(family));
        assert.equal(code, 'ECONNREFUSED');
        assert.ok(ms < AT_ONCE_MS, `${ms} ms`);
        assert.equal(udp(remote.namespace, to, nodePortOf(family)), 'ECONNREFUSED');
      });
      const answers = seen.filter(({ inner }) => inner?.includes(`${to} > `));
      assert.equal(answers.length, 2, seen.map(({ outer, inner }) => `${outer} [${inner}]`).join('\n'));
    });

    test(`is not told anything outside of the source ranges (IPv${family})`, async () => {
      const ranges = family === 4 ? '192.0.2.128/25' : '2001:db8:ffff::/64';
      publish(here(), { loadBalancerSourceRanges: [ranges] });
      await eventually(() => assert.equal(tcp(outside, vip, 80), 'timeout'));
      assert.ok(((await counts(first)).get('outside_range') ?? 0) > 0);
    });

    test(`gets only so many refusals in a second, and others theirs (IPv${family})`, async () => {
      publish();
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), OUTSIDE[family]));
      const before = (await counts(first)).get('outside_unanswered') ?? 0;
      const { refused, quiet } = flood(outside, vip, 81, 400);
      assert.ok(refused >= 100 && refused < 400, `${refused} of 400 refused`);
      assert.equal(refused + quiet, 400);
      assert.ok(((await counts(first)).get('outside_unanswered') ?? 0) >= before + 400 - refused);
      await eventually(() => assert.equal(tcp(outside, vip, 81), 'ECONNREFUSED'));
    });

    /** In the announced range, and no service's. */
    const nobodys = family === 4 ? '203.0.113.77' : '2001:db8:203::77';
    const range = family === 4 ? '203.0.113.0/24' : '2001:db8:203::/64';

    test(`an address that no service has circles between node and leaf while nobody says that it is announced (IPv${family})`, async () => {
      nodes.fabric.run('ip', 'route', 'replace', range, 'via', addressOf(first, family));
      const seen = await seenOn(nodes.fabric, first.port, () => ping(outside, nobodys));
      assert.ok(to(seen, nobodys).length > 10, `${to(seen, nobodys).length} packets`);
    });

    test(`and ends at the node as soon as it is (IPv${family})`, async () => {
      announce(nodes.store, 'serviceLoadBalancerIPs', [range]);
      await eventually(() => assert.equal(tcp(outside, nobodys, 80), 'ECONNREFUSED'));
      const before = (await counts(first)).get('outside_no_service') ?? 0;
      const seen = await seenOn(nodes.fabric, first.port, () => {
        assert.equal(tcp(outside, nobodys, 80), 'ECONNREFUSED');
        assert.equal(udp(outside, nobodys, 80), 'ECONNREFUSED');
        ping(outside, nobodys);
      });
      const words = seen.map(({ outer }) => outer).join('\n');
      assert.equal(to(seen, nobodys).length, 3, words);
      assert.equal(to(seen, OUTSIDE[family]).length, 3, words);
      assert.equal((await counts(first)).get('outside_no_service'), before + 3);
    });

    test(`for pods of the same node too, and of others (IPv${family})`, () => {
      for (const pod of [server, peer]) assert.equal(tcp(pod.namespace, nobodys, 80), 'ECONNREFUSED');
    });

    test(`and for those that would be hidden, before they leave their node (IPv${family})`, async () => {
      // Node 2 learns of the announcement by itself.
      await eventually(() => assert.equal(tcp(remote.namespace, nobodys, 80), 'ECONNREFUSED'));
      const seen = await seenOn(nodes.fabric, overlaid.port, () => {
        assert.equal(tcp(remote.namespace, nobodys, 80), 'ECONNREFUSED');
        assert.equal(udp(remote.namespace, nobodys, 80), 'ECONNREFUSED');
      });
      assert.deepEqual(to(seen, nobodys), []);
    });

    test(`an address of the range that a service has is served (IPv${family})`, async () => {
      publish();
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), OUTSIDE[family]));
    });

    test(`nobody speaks from the network with the address of a pod that is not there (IPv${family})`, async () => {
      const target = podAddress(server, family);
      const from = (source: string) => {
        const wire = new PacketSocket(nodes.fabric, first.port);
        const { address: destinationMac } = first.rig.node.ip('link show up0')[0];
        wire.send(frame({ source, destination: target, destinationMac, transport: udp9() }));
        wire.close();
      };
      const heard = async (source: string) =>
        (await seenIn(server.namespace, () => from(source))).some(({ outer }) =>
          outer.includes(`${source} > `),
        );
      const dropped = async () => (await counts(first)).get('wrong_origin') ?? 0;
      const before = await dropped();
      assert.equal(await heard(target), false, 'its own');
      assert.equal(await heard(addressOf(first, family)), false, "its node's");
      assert.equal(await heard(podAddress(remote, family)), false, "one's that has to come by a tunnel");
      assert.equal(await dropped(), before + 3);
      assert.equal(await heard(podAddress(peer, family)), true, "one's of the underlay");
      assert.equal(await heard(addressOf(overlaid, family)), true, "a node's of the overlay");
      assert.equal(await heard(OUTSIDE[family]), true, 'from outside');
      assert.equal(await dropped(), before + 3);
    });
  }
});
