import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type IPv4, parseIP } from '../../src/address/ip.ts';
import { NO_ADDRESS, POD_FLAGS, TUNNEL_FLAGS } from '../../src/datapath/layout.ts';
import type { Reason } from '../../src/datapath/reasons.ts';
import { type SkBuff, skBuff, testRun } from '../../src/ebpf/program.ts';
import { Datapath, type ProgramName } from './bpfRig.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import {
  checksum,
  type FrameFields,
  fragmentsOf,
  frame,
  icmp,
  packet,
  raw,
  tcp,
  udp,
  describe as words,
} from './packets.ts';

/** More than the time for which a way is believed, and the coarse clock's ticks. */
const WAY_MS = 20;

const HOST_MAC = '02:00:00:00:00:01';
const POD_MAC = '02:00:00:00:00:02';
const UPLINK_MAC = '02:00:00:00:00:03';
const OTHER_MAC = '02:00:00:00:00:04';
const OTHER_GATEWAY = '02:00:00:00:00:05';
const OVERLAY_MAC = '02:74:c0:00:02:02';

/** Who is who in one family; the pod stands behind `tbo`, the other one behind a device that nothing is sent through here. */
const CASTS = [
  {
    family: 4,
    pod: '10.1.0.2',
    other: '10.1.0.3',
    slow: '10.1.0.4',
    tunnelled: '10.2.0.7',
    native: '10.3.0.7',
    outside: '198.51.100.7',
    node: '192.0.2.2',
    multicast: '224.0.0.251',
  },
  {
    family: 6,
    pod: 'fd01::2',
    other: 'fd01::3',
    slow: 'fd01::4',
    tunnelled: 'fd02::7',
    native: 'fd03::7',
    outside: '2001:db8:100::7',
    node: '2001:db8::2',
    multicast: 'ff02::fb',
  },
] as const;

const namespaces = new TestNamespaces('bpfforwarding');
let datapath: Datapath;
let node: TestNamespace;
let index: Record<'tbo' | 'up0' | 'vx0' | 'by0', number>;

function macOf(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

before(() => {
  datapath = new Datapath();
  node = namespaces.create('node');
  const far = namespaces.create('far');
  node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  for (const [name, mac] of [
    ['tbo', HOST_MAC],
    ['up0', UPLINK_MAC],
    ['vx0', OVERLAY_MAC],
    ['by0', OTHER_MAC],
  ]) {
    node.run(
      'ip',
      ...`link add ${name} address ${mac} type veth peer name ${name}p netns ${far.name}`.split(' '),
    );
    node.run('ip', ...`link set ${name} up`.split(' '));
    far.run('ip', ...`link set ${name}p up`.split(' '));
  }
  for (const words of [
    'address add 192.0.2.2/24 dev up0',
    'address add 2001:db8::2/64 dev up0 nodad',
    'route add default via 192.0.2.1',
    'route add default via 2001:db8::1',
    'route add 10.9.0.0/16 dev by0',
    'route add blackhole 10.8.0.0/16',
    'route add 10.7.0.0/16 via 192.0.2.1 mtu lock 1300',
  ]) {
    node.run('ip', ...words.split(' '));
  }
  const indexOf = (name: string): number => node.ip(`link show ${name}`)[0].ifindex;
  index = { tbo: indexOf('tbo'), up0: indexOf('up0'), vx0: indexOf('vx0'), by0: indexOf('by0') };
});

after(() => {
  datapath?.close();
  namespaces.close();
});

beforeEach(async () => {
  datapath.forget();
  await setTimeout(WAY_MS);
  const { tb_pods, tb_tunnels, tb_node } = datapath.maps;
  tb_node.set(0, {
    uplinks: [index.up0],
    vxlan: index.vx0,
    address: parseIP('192.0.2.2') as IPv4,
    overlay_mtu: 1450,
    flags: 0,
    first_port: 20_000,
    ports: 1_000,
    tunnel_port: 0,
    ipv6: NO_ADDRESS,
  });
  for (const { family, pod, other, slow, tunnelled, native } of CASTS) {
    tb_pods.set(parseIP(pod), {
      ifindex: index.tbo,
      flags: 0,
      mac: macOf(POD_MAC),
      gateway: macOf(HOST_MAC),
    });
    const elsewhere = { ifindex: index.by0, mac: macOf(OTHER_MAC), gateway: macOf(OTHER_GATEWAY) };
    tb_pods.set(parseIP(other), { ...elsewhere, flags: 0 });
    tb_pods.set(parseIP(slow), { ...elsewhere, flags: POD_FLAGS.stack });
    const bits = family === 4 ? 120 : 32;
    tb_tunnels.set(
      { length: bits, address: parseIP(tunnelled) },
      { endpoint: parseIP('192.0.2.9') as IPv4, flags: TUNNEL_FLAGS.ofPods, holder: undefined },
    );
    tb_tunnels.set(
      { length: bits, address: parseIP(native) },
      { endpoint: undefined, flags: TUNNEL_FLAGS.ofPods, holder: undefined },
    );
  }
});

/** Hands a frame to a program; what it did. */
function run(program: ProgramName, bytes: Buffer, context: SkBuff): { verdict: number; data: Buffer } {
  return node.inside(() => testRun(datapath.program(program), { data: bytes, context: skBuff(context) }));
}

function fromPod(fields: Omit<FrameFields, 'transport'> & Partial<FrameFields>, context: SkBuff = {}) {
  const given = {
    sourceMac: POD_MAC,
    destinationMac: HOST_MAC,
    transport: tcp({ from: 40000, to: 80 }),
    ...fields,
  };
  return { given, ...run('tb_host_ingress', frame(given), { ifindex: index.tbo, ...context }) };
}

type Outcome = ReturnType<typeof fromPod>;

function redirected({ verdict, data }: Outcome, expected: FrameFields, reason: Reason): void {
  assert.equal(words(data), words(frame(expected)));
  assert.equal(verdict, VERDICTS.redirect);
  assert.deepEqual(datapath.metrics(), { [reason]: 1 });
}

/** Untouched, and counted. */
function leftToStack({ verdict, data, given }: Outcome, reason: Reason): void {
  assert.equal(words(data), words(frame(given)));
  assert.equal(verdict, VERDICTS.next);
  assert.deepEqual(datapath.metrics(), { [reason]: 1 });
}

function dropped({ verdict }: { verdict: number }, reason: Reason): void {
  assert.equal(verdict, VERDICTS.drop);
  assert.deepEqual(datapath.metrics(), { [reason]: 1 });
}

for (const cast of CASTS) {
  const { family, pod, other, slow, tunnelled, native, outside } = cast;

  describe(`what a pod sends, over IPv${family}`, () => {
    test('to another pod of the node goes straight there', () => {
      const outcome = fromPod({ source: pod, destination: other });
      const macs = { sourceMac: OTHER_GATEWAY, destinationMac: OTHER_MAC };
      redirected(outcome, { ...outcome.given, ...macs, ttl: 63 }, 'forwarded_to_pod');
    });

    test('to a pod of another node goes into its tunnel, addressed to that node', () => {
      const outcome = fromPod({ source: pod, destination: tunnelled });
      const macs = { sourceMac: OVERLAY_MAC, destinationMac: '02:74:c0:00:02:09' };
      redirected(outcome, { ...outcome.given, ...macs, ttl: 63 }, 'forwarded_to_tunnel');
    });

    describe('to a pod of another node, where the programs make tunnels', () => {
      beforeEach(() => {
        const entry = datapath.maps.tb_node.get(0);
        assert.ok(entry);
        datapath.maps.tb_node.set(0, { ...entry, tunnel_port: 8472 });
      });
      const sent = (fields: Partial<FrameFields> = {}, context: SkBuff = {}) =>
        fromPod({ source: pod, destination: tunnelled, ...fields }, context);

      test('has the outer headers of RFC 7348, and inside it is as it was but for the hop', () => {
        const { verdict, data, given } = sent();
        assert.equal(verdict, VERDICTS.redirect);
        const macs = { sourceMac: OVERLAY_MAC, destinationMac: '02:74:c0:00:02:09' };
        const inner = frame({ ...given, ...macs, ttl: 63 });
        assert.equal(data.subarray(50).toString('hex'), inner.toString('hex'));
        const header = Buffer.from('0800000000006f00', 'hex');
        const payload = Buffer.concat([header, inner]);
        const from = data.readUInt16BE(34);
        assert.ok(from >= 49152, `source port ${from}`);
        const outer = packet({
          source: '192.0.2.2',
          destination: '192.0.2.9',
          transport: udp({ from, to: 8472, payload, checksum: 'none' }),
        });
        // The identification is any.
        assert.equal(checksum(data.subarray(14, 34)), 0);
        data.copy(outer, 4, 18, 20);
        data.copy(outer, 10, 24, 26);
        assert.equal(data.subarray(14).toString('hex'), outer.toString('hex'));
        assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 1, encapsulated: 1 });
      });

      test('keeps its source port, and other flows have others', () => {
        const portOf = (port: number) =>
          sent({ transport: tcp({ from: port, to: 80, flags: '.' }) }).data.readUInt16BE(34);
        assert.equal(portOf(40000), portOf(40000));
        assert.ok(new Set([40000, 40001, 40002, 40003].map(portOf)).size > 1);
      });

      test('tells the network whether it can be told of congestion, and nothing of its class', () => {
        for (const bits of [0, 1, 2, 3]) {
          const bytes = frame({ ...sent().given });
          if (family === 4) {
            bytes[15] = 0xb8 | bits;
            bytes.writeUInt16BE(0, 24);
            bytes.writeUInt16BE(checksum(bytes.subarray(14, 34)), 24);
          } else bytes[15] = bits << 4;
          const { data } = run('tb_host_ingress', bytes, { ifindex: index.tbo });
          assert.equal(data[15], bits);
        }
      });

      test('takes tbvxlan, as it is, if the kernel refuses to give it other headers', () => {
        // For offload of which it does not know the protocol.
        const transport = tcp({ from: 40000, to: 80, flags: '.', payload: Buffer.alloc(3000) });
        const { verdict, data, given } = sent({ transport }, { gsoSize: 1000, gsoSegments: 3 });
        const macs = { sourceMac: OVERLAY_MAC, destinationMac: '02:74:c0:00:02:09' };
        assert.equal(words(data), words(frame({ ...given, ...macs, ttl: 63 })));
        assert.equal(verdict, VERDICTS.redirect);
        assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 1 });
      });

      test('has to fit into the way of the tunnel too', () => {
        node.run('ip', ...'route add 192.0.2.9 dev up0 mtu lock 1300'.split(' '));
        try {
          const payload = Buffer.alloc(1260);
          // tbvxlan sends what is larger, and the kernel fragments that.
          sent({ transport: tcp({ from: 40000, to: 80, flags: '.', payload }) });
          assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 1 });
          datapath.forget();
          sent({ transport: tcp({ from: 40001, to: 80, flags: '.' }) });
          sent({ transport: tcp({ from: 40001, to: 80, flags: '.', payload }) });
          assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 2, encapsulated: 1 });
        } finally {
          node.run('ip', ...'route del 192.0.2.9'.split(' '));
        }
      });

      test('takes tbvxlan if it may have to be translated, or leaves by no uplink', () => {
        const echo = icmp(family, family === 4 ? 8 : 128, 0, 1, Buffer.alloc(8));
        sent({ transport: echo });
        sent({ fragment: { identification: 7, offset: 0, more: true } });
        assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 2 });
        datapath.forget();
        node.run('ip', ...'route add 192.0.2.9 dev by0'.split(' '));
        try {
          sent();
          assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 1 });
        } finally {
          node.run('ip', ...'route del 192.0.2.9'.split(' '));
        }
      });
    });

    for (const [where, destination] of [
      ['a pod that the network knows the way to', native],
      ['the world', outside],
    ] as const) {
      test(`to ${where} goes out by the uplink`, () => {
        const outcome = fromPod({ source: pod, destination });
        redirected(outcome, { ...outcome.given, ttl: 63 }, 'forwarded_to_uplink');
      });
    }

    test('with the address of another one is dropped', () => {
      dropped(fromPod({ source: other, destination: outside }), 'spoofed_source');
      datapath.forget();
      dropped(fromPod({ source: outside, destination: other }), 'spoofed_source');
    });

    test('with another MAC address is dropped', () => {
      dropped(fromPod({ source: pod, destination: other, sourceMac: OTHER_MAC }), 'spoofed_source');
    });

    test('with another address is dropped also where the packet ends early', () => {
      const cut = (source: string) =>
        frame({
          source,
          destination: outside,
          sourceMac: POD_MAC,
          destinationMac: HOST_MAC,
          transport: raw(6, Buffer.alloc(4)),
        });
      dropped(run('tb_host_ingress', cut(other), { ifindex: index.tbo }), 'spoofed_source');
      datapath.forget();
      assert.equal(run('tb_host_ingress', cut(pod), { ifindex: index.tbo }).verdict, VERDICTS.next);
      assert.deepEqual(datapath.metrics(), { stack_malformed: 1 });
    });

    test('to the node itself is for its stack', () => {
      leftToStack(fromPod({ source: pod, destination: cast.node }), 'stack_node');
    });

    test('to a group stays on the link', () => {
      leftToStack(fromPod({ source: pod, destination: cast.multicast }), 'stack_on_link');
    });

    test('at the end of its life is for the stack, which says so', () => {
      for (const destination of [other, tunnelled, outside]) {
        datapath.forget();
        leftToStack(fromPod({ source: pod, destination, ttl: 1 }), 'stack_ttl');
      }
    });

    test('too long for the tunnel is for the stack, which says so', () => {
      const header = family === 4 ? 20 : 40;
      const fill = (bytes: number) =>
        tcp({ from: 1, to: 2, flags: '.', payload: Buffer.alloc(bytes - header - 20) });
      const outcome = fromPod({ source: pod, destination: tunnelled, transport: fill(1451) });
      leftToStack(outcome, 'stack_mtu');
      assert.equal(
        fromPod({ source: pod, destination: tunnelled, transport: fill(1450) }).verdict,
        VERDICTS.redirect,
      );
    });

    test('of segmentation offload counts by what the device makes of it', () => {
      const header = family === 4 ? 40 : 60;
      const long = tcp({ from: 1, to: 2, flags: '.', payload: Buffer.alloc(3000) });
      const sized = (gsoSize: number) => ({ gsoSize, gsoSegments: Math.ceil(3000 / gsoSize) });
      const fits = fromPod({ source: pod, destination: tunnelled, transport: long }, sized(1450 - header));
      assert.equal(fits.verdict, VERDICTS.redirect);
      datapath.forget();
      leftToStack(
        fromPod({ source: pod, destination: tunnelled, transport: long }, sized(1451 - header)),
        'stack_mtu',
      );
    });

    test('in fragments is forwarded as it is', () => {
      const whole = {
        source: pod,
        destination: other,
        sourceMac: POD_MAC,
        destinationMac: HOST_MAC,
        transport: udp({ from: 1, to: 2, payload: Buffer.alloc(2000) }),
      };
      for (const part of fragmentsOf(whole, 1024, 7)) {
        assert.equal(run('tb_host_ingress', part, { ifindex: index.tbo }).verdict, VERDICTS.redirect);
      }
      assert.deepEqual(datapath.metrics(), { forwarded_to_pod: 2 });
    });

    test('to a pod that takes the stack, or from one, takes the stack', () => {
      leftToStack(fromPod({ source: pod, destination: slow }), 'stack_pod');
      const entry = datapath.maps.tb_pods.get(parseIP(pod));
      assert.ok(entry);
      datapath.maps.tb_pods.set(parseIP(pod), { ...entry, flags: POD_FLAGS.stack });
      for (const destination of [other, tunnelled, outside]) {
        datapath.forget();
        leftToStack(fromPod({ source: pod, destination }), 'stack_pod');
      }
    });

    test('to another MAC address than the gateway’s, or in a VLAN, is not forwarded', () => {
      leftToStack(fromPod({ source: pod, destination: other, destinationMac: OTHER_MAC }), 'stack_not_ip');
      datapath.forget();
      leftToStack(fromPod({ source: pod, destination: other, vlans: [5] }), 'stack_not_ip');
    });

    test('goes the way of the packet before it, and no longer than a moment after that has changed', async () => {
      for (const destination of [other, tunnelled, native]) {
        const first = fromPod({ source: pod, destination });
        const key = parseIP(destination);
        datapath.maps.tb_pods.set(key, {
          ifindex: index.vx0,
          flags: 0,
          mac: macOf(UPLINK_MAC),
          gateway: macOf(OTHER_MAC),
        });
        const second = fromPod({ source: pod, destination });
        assert.equal(words(second.data), words(first.data));
        await setTimeout(WAY_MS);
        const macs = { sourceMac: OTHER_MAC, destinationMac: UPLINK_MAC };
        const third = fromPod({ source: pod, destination });
        assert.equal(words(third.data), words(frame({ ...third.given, ...macs, ttl: 63 })));
        if (destination !== other) datapath.maps.tb_pods.delete(key);
      }
    });

    test('is looked at as before where the way is known', () => {
      for (const destination of [other, tunnelled, native]) {
        const sent = { source: pod, destination, transport: tcp({ from: 1, to: 2, flags: '.' }) };
        const first = fromPod(sent).verdict;
        assert.equal(first, VERDICTS.redirect);
        datapath.forget();
        leftToStack(fromPod({ ...sent, ttl: 1 }), 'stack_ttl');
        datapath.forget();
        leftToStack(fromPod({ ...sent, destinationMac: OTHER_MAC }), 'stack_not_ip');
        datapath.forget();
        dropped(fromPod({ ...sent, sourceMac: OTHER_MAC }), 'spoofed_source');
        datapath.forget();
        dropped(fromPod(sent, { ifindex: index.by0 }), 'spoofed_source');
        if (destination === other) continue;
        const payload = Buffer.alloc(1501 - (family === 4 ? 40 : 60));
        datapath.forget();
        leftToStack(
          fromPod({ ...sent, transport: tcp({ from: 1, to: 2, flags: '.', payload }) }),
          'stack_mtu',
        );
      }
    });

    test('without an overlay goes the way the routing table says', () => {
      datapath.maps.tb_node.set(0, {
        uplinks: [index.up0],
        vxlan: 0,
        address: undefined,
        overlay_mtu: 0,
        tunnel_port: 0,
        flags: 0,
        first_port: 20_000,
        ports: 1_000,
        ipv6: NO_ADDRESS,
      });
      const outcome = fromPod({ source: pod, destination: tunnelled });
      redirected(outcome, { ...outcome.given, ttl: 63 }, 'forwarded_to_uplink');
    });

    test('in answer to what the stack has delivered takes the stack, and nothing else does', async () => {
      const question = {
        source: outside,
        destination: pod,
        sourceMac: HOST_MAC,
        destinationMac: POD_MAC,
        transport: tcp({ from: 50000, to: 8080 }),
      };
      const own = run('tb_host_egress', frame(question), { ifindex: index.tbo });
      assert.equal(own.verdict, VERDICTS.next);
      const answer = {
        source: pod,
        destination: outside,
        transport: tcp({ from: 8080, to: 50000, flags: 'S.' }),
      };
      assert.equal(fromPod(answer).verdict, VERDICTS.redirect, 'the node’s own packets are no reason');
      datapath.forget();
      await setTimeout(WAY_MS);
      run('tb_host_egress', frame(question), { ifindex: index.tbo, ingressIfindex: index.up0 });
      assert.equal(datapath.maps.tb_pods.get(parseIP(pod))?.flags, POD_FLAGS.answersStack);
      leftToStack(fromPod(answer), 'stack_flow');
      datapath.forget();
      assert.equal(fromPod({ source: pod, destination: outside }).verdict, VERDICTS.redirect);
      const quoted = packet(question);
      const about = family === 4 ? icmp(4, 3, 3, 0, quoted) : icmp(6, 1, 4, 0, quoted);
      datapath.forget();
      leftToStack(fromPod({ source: pod, destination: outside, transport: about }), 'stack_flow');
    });
  });

  describe(`what comes by the uplink, over IPv${family}`, () => {
    const coming = (fields: Partial<FrameFields>) => {
      const given = {
        source: outside,
        destination: pod,
        sourceMac: OTHER_GATEWAY,
        destinationMac: UPLINK_MAC,
        transport: udp({ from: 53, to: 40000, payload: 'answer' }),
        ...fields,
      };
      return { given, ...run('tb_uplink_in', frame(given), { ifindex: index.up0 }) };
    };

    test('for a pod goes straight there', () => {
      const outcome = coming({});
      const macs = { sourceMac: HOST_MAC, destinationMac: POD_MAC };
      redirected(outcome, { ...outcome.given, ...macs, ttl: 63 }, 'forwarded_to_pod');
    });

    test('for a pod is looked at as before where the way is known', async () => {
      const sent = { transport: tcp({ from: 80, to: 40000, flags: '.' }) };
      const first = coming(sent);
      assert.equal(words(coming(sent).data), words(first.data));
      assert.deepEqual(datapath.metrics(), { forwarded_to_pod: 2 });
      datapath.forget();
      leftToStack(coming({ ...sent, ttl: 1 }), 'stack_ttl');
      const entry = datapath.maps.tb_pods.get(parseIP(pod));
      assert.ok(entry);
      datapath.maps.tb_pods.set(parseIP(pod), { ...entry, flags: POD_FLAGS.stack });
      await setTimeout(WAY_MS);
      datapath.forget();
      leftToStack(coming(sent), 'stack_pod');
    });

    test('for nobody here, or for another device, is left alone and not counted', () => {
      for (const fields of [
        { destination: cast.node },
        { destination: tunnelled },
        { destinationMac: OTHER_MAC },
      ]) {
        const { verdict, data, given } = coming(fields);
        assert.deepEqual([verdict, words(data)], [VERDICTS.next, words(frame(given))]);
      }
      assert.deepEqual(datapath.metrics(), {});
    });

    test('at the end of its life is for the stack, which says so', () => {
      leftToStack(coming({ ttl: 1 }), 'stack_ttl');
    });
  });

  describe(`the overlay’s device, over IPv${family}`, () => {
    test('believes nothing that came without a tunnel', () => {
      const bytes = frame({
        source: tunnelled,
        destination: pod,
        destinationMac: OVERLAY_MAC,
        transport: udp({ from: 1, to: 2 }),
      });
      dropped(run('tb_vxlan_in', bytes, { ifindex: index.vx0 }), 'unknown_tunnel');
    });

    const leaving = (destination: string) => {
      const given = { source: cast.node, destination, transport: udp({ from: 1, to: 2 }) };
      return { given, ...run('tb_vxlan_out', frame(given), { ifindex: index.vx0 }) };
    };

    test('is told where to send what the stack has routed there', () => {
      const { verdict, data, given } = leaving(tunnelled);
      const macs = { sourceMac: OVERLAY_MAC, destinationMac: '02:74:c0:00:02:09' };
      assert.equal(words(data), words(frame({ ...given, ...macs })));
      assert.equal(verdict, VERDICTS.next);
    });

    test('sends nothing that no node has', () => {
      dropped(leaving(native), 'no_tunnel');
      datapath.forget();
      dropped(leaving(outside), 'no_tunnel');
    });

    test('sends nothing to groups, and makes no fuss about it', () => {
      assert.equal(leaving(cast.multicast).verdict, VERDICTS.drop);
      assert.deepEqual(datapath.metrics(), {});
    });
  });
}

describe('what a pod sends, by the particulars of a family', () => {
  const [{ pod, other, outside }, six] = CASTS;

  test('IPv4 options are for routers to look at', () => {
    const options = Buffer.from([0x94, 4, 0, 0]);
    leftToStack(fromPod({ source: pod, destination: other, options }), 'stack_options');
  });

  test('IPv6 hop-by-hop options are, other extension headers are not', () => {
    const extension = (type: number) => [{ type, body: Buffer.from([1, 4, 0, 0, 0, 0]) }];
    const ends = { source: six.pod, destination: six.other };
    leftToStack(fromPod({ ...ends, extensions: extension(0) }), 'stack_options');
    assert.equal(fromPod({ ...ends, extensions: extension(60) }).verdict, VERDICTS.redirect);
  });

  test('IPv6 neighbours talk to each other from link-local addresses, and to nobody else', () => {
    const solicitation = icmp(6, 135, 0, 0, Buffer.alloc(16));
    for (const [source, destination] of [
      ['fe80::2', 'ff02::1:ff00:1'],
      ['fe80::2', 'fe80::1'],
      ['::', 'ff02::1:ff00:2'],
    ] as const) {
      datapath.forget();
      leftToStack(fromPod({ source, destination, transport: solicitation }), 'stack_on_link');
    }
    datapath.forget();
    dropped(fromPod({ source: 'fe80::2', destination: six.other }), 'spoofed_source');
  });

  test('IPv4 without an address yet is nobody’s', () => {
    dropped(fromPod({ source: '0.0.0.0', destination: '255.255.255.255' }), 'spoofed_source');
  });

  test('ARP is for the stack', () => {
    const bytes = frame({
      source: pod,
      destination: outside,
      sourceMac: POD_MAC,
      destinationMac: HOST_MAC,
      transport: udp({ from: 1, to: 2 }),
    });
    bytes.writeUInt16BE(0x0806, 12);
    assert.equal(run('tb_host_ingress', bytes, { ifindex: index.tbo }).verdict, VERDICTS.next);
    assert.deepEqual(datapath.metrics(), { stack_not_ip: 1 });
  });

  test('by another device than the uplink is the stack’s, as is what has no way at all', () => {
    leftToStack(fromPod({ source: pod, destination: '10.9.0.1' }), 'stack_device');
    datapath.forget();
    leftToStack(fromPod({ source: pod, destination: '10.8.0.1' }), 'stack_node');
  });

  test('too long for the route is for the stack, which says so', () => {
    const transport = udp({ from: 1, to: 2, payload: Buffer.alloc(1300) });
    leftToStack(
      fromPod({ source: pod, destination: '10.7.0.1', transport, unfragmented: true }),
      'stack_mtu',
    );
  });
});

describe('a packet on its way', () => {
  test('costs so many nanoseconds, by the best of five', (t) => {
    for (const { family, pod, other, tunnelled, native } of CASTS) {
      const cost = (destination: string) => {
        // Each run takes a hop off the same packet; whoever it goes to gives it the MAC addresses it had.
        const mine = destination === tunnelled ? [OVERLAY_MAC, HOST_MAC] : [POD_MAC, HOST_MAC];
        const [from = '', to = ''] = mine;
        datapath.maps.tb_pods.set(parseIP(pod), {
          ifindex: index.tbo,
          flags: 0,
          mac: macOf(from),
          gateway: macOf(to),
        });
        datapath.maps.tb_pods.set(parseIP(other), {
          ifindex: index.by0,
          flags: 0,
          mac: macOf(to),
          gateway: macOf(from),
        });
        const bytes = frame({
          source: pod,
          destination,
          sourceMac: from,
          destinationMac: to,
          ttl: 255,
          transport: tcp({ from: 40000, to: 80 }),
        });
        const context = skBuff({ ifindex: index.tbo });
        const fd = datapath.program('tb_host_ingress');
        const durations = Array.from({ length: 5 }, () =>
          node.inside(() => testRun(fd, { data: bytes, context, repeat: 250 })),
        ).map(({ duration }) => duration);
        assert.equal(node.inside(() => testRun(fd, { data: bytes, context })).verdict, VERDICTS.redirect);
        return Math.min(...durations);
      };
      t.diagnostic(
        `IPv${family}: to a pod ${cost(other)} ns, to a tunnel ${cost(tunnelled)} ns, to the uplink ${cost(native)} ns`,
      );
    }
  });
});
