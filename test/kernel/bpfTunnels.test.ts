import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type { SkBuff } from '../../src/ebpf/program.ts';
import {
  CASTS,
  changeNode,
  datapath,
  dropped,
  fromPod,
  node,
  OVERLAY_MAC,
  run,
} from './bpfForwardingScene.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { checksum, type FrameFields, frame, icmp, packet, tcp, udp, describe as words } from './packets.ts';

for (const cast of CASTS) {
  const { family, pod, tunnelled, native, outside } = cast;

  describe(`what a pod sends to another node, where the programs make tunnels, over IPv${family}`, () => {
    beforeEach(() => {
      changeNode({ vxlan: node.index.vx0, tunnel_port: 8472 });
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
        const { data } = run('tb_host_ingress', bytes, { ifindex: node.index.tbo });
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
      node.ip('route add 192.0.2.9 dev up0 mtu lock 1300');
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
        node.ip('route del 192.0.2.9');
      }
    });

    test('takes tbvxlan if it may have to be translated, or leaves by no uplink', () => {
      const echo = icmp(family, family === 4 ? 8 : 128, 0, 1, Buffer.alloc(8));
      sent({ transport: echo });
      sent({ fragment: { identification: 7, offset: 0, more: true } });
      assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 2 });
      datapath.forget();
      node.ip('route add 192.0.2.9 dev by0');
      try {
        sent();
        assert.deepEqual(datapath.metrics(), { forwarded_to_tunnel: 1 });
      } finally {
        node.ip('route del 192.0.2.9');
      }
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
      dropped(run('tb_vxlan_in', bytes, { ifindex: node.index.vx0 }), 'unknown_tunnel');
    });

    const leaving = (destination: string) => {
      const given = { source: cast.node, destination, transport: udp({ from: 1, to: 2 }) };
      return { given, ...run('tb_vxlan_out', frame(given), { ifindex: node.index.vx0 }) };
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
