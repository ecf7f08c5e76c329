import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { byUplink, CASTS, datapath, leftToStack, OTHER_MAC, redirected } from './bpfForwardingScene.ts';
import { HOST_MAC, POD_MAC } from './bpfNode.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { type FrameFields, frame, describe as words } from './packets.ts';

for (const cast of CASTS) {
  const { family, pod, tunnelled, outside } = cast;

  describe(`what comes by the uplink, over IPv${family}`, () => {
    const coming = (fields: Partial<FrameFields>) =>
      byUplink({ source: outside, destination: pod, ...fields });

    test('for a pod goes straight there', () => {
      const outcome = coming({});
      const macs = { sourceMac: HOST_MAC, destinationMac: POD_MAC };
      redirected(outcome, { ...outcome.given, ...macs, ttl: 63 }, 'forwarded_to_pod');
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
}
