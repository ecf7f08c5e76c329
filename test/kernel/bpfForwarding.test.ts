import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import { POD_FLAGS } from '../../src/datapath/maps/pods.ts';
import {
  CASTS,
  changeNode,
  datapath,
  dropped,
  fromPod,
  leftToStack,
  node,
  OTHER_GATEWAY,
  OTHER_MAC,
  OVERLAY_MAC,
  redirected,
  run,
  WAY_MS,
} from './bpfForwardingScene.ts';
import { HOST_MAC, macOf, POD_MAC } from './bpfNode.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { fragmentsOf, frame, icmp, packet, raw, tcp, udp } from './packets.ts';

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
      dropped(run('tb_host_ingress', cut(other), { ifindex: node.index.tbo }), 'spoofed_source');
      datapath.forget();
      assert.equal(run('tb_host_ingress', cut(pod), { ifindex: node.index.tbo }).verdict, VERDICTS.next);
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
        assert.equal(run('tb_host_ingress', part, { ifindex: node.index.tbo }).verdict, VERDICTS.redirect);
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

    test('without an overlay goes the way the routing table says', () => {
      changeNode({ overlay_mtu: 0, address: undefined });
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
      const own = run('tb_host_egress', frame(question), { ifindex: node.index.tbo });
      assert.equal(own.verdict, VERDICTS.next);
      const answer = {
        source: pod,
        destination: outside,
        transport: tcp({ from: 8080, to: 50000, flags: 'S.' }),
      };
      assert.equal(fromPod(answer).verdict, VERDICTS.redirect, 'the node’s own packets are no reason');
      datapath.forget();
      await setTimeout(WAY_MS);
      run('tb_host_egress', frame(question), { ifindex: node.index.tbo, ingressIfindex: node.index.up0 });
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
    assert.equal(run('tb_host_ingress', bytes, { ifindex: node.index.tbo }).verdict, VERDICTS.next);
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
          ifindex: node.index.tbo,
          flags: 0,
          mac: macOf(from),
          gateway: macOf(to),
        });
        datapath.maps.tb_pods.set(parseIP(other), {
          ifindex: node.index.by0,
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
        const send = (repeat: number) =>
          node.run(datapath, 'tb_host_ingress', bytes, { ifindex: node.index.tbo }, repeat);
        const durations = Array.from({ length: 5 }, () => send(250).duration);
        assert.equal(send(1).verdict, VERDICTS.redirect);
        return Math.min(...durations);
      };
      t.diagnostic(
        `IPv${family}: to a pod ${cost(other)} ns, to a tunnel ${cost(tunnelled)} ns, to the uplink ${cost(native)} ns`,
      );
    }
  });
});
