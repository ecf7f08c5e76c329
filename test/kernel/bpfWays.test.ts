import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import { POD_FLAGS } from '../../src/datapath/maps/pods.ts';
import {
  byUplink,
  CASTS,
  datapath,
  dropped,
  fromPod,
  leftToStack,
  node,
  OTHER_MAC,
  WAY_MS,
} from './bpfForwardingScene.ts';
import { macOf, UPLINK_MAC } from './bpfNode.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { type FrameFields, frame, tcp, describe as words } from './packets.ts';

for (const { family, pod, other, tunnelled, native, outside } of CASTS) {
  describe(`a packet whose way is known, over IPv${family}`, () => {
    const coming = (fields: Partial<FrameFields>) =>
      byUplink({ source: outside, destination: pod, ...fields });

    test('goes the way of the packet before it, and no longer than a moment after that has changed', async () => {
      for (const destination of [other, tunnelled, native]) {
        const first = fromPod({ source: pod, destination });
        const key = parseIP(destination);
        datapath.maps.tb_pods.set(key, {
          ifindex: node.index.vx0,
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
        dropped(fromPod(sent, { ifindex: node.index.by0 }), 'spoofed_source');
        if (destination === other) continue;
        const payload = Buffer.alloc(1501 - (family === 4 ? 40 : 60));
        datapath.forget();
        leftToStack(
          fromPod({ ...sent, transport: tcp({ from: 1, to: 2, flags: '.', payload }) }),
          'stack_mtu',
        );
      }
    });

    test('by the uplink for a pod is looked at as before where the way is known', async () => {
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
  });
}
