// What the tests of forwarding have in common: a node of the overlay with three pods, and the world around it.
import assert from 'node:assert/strict';
import { after, before, beforeEach } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type IPv4, parseIP } from '../../src/address/ip.ts';
import { NO_ADDRESS } from '../../src/datapath/maps/address.ts';
import type { ThisNode } from '../../src/datapath/maps/node.ts';
import { POD_FLAGS } from '../../src/datapath/maps/pods.ts';
import { TUNNEL_FLAGS } from '../../src/datapath/maps/tunnels.ts';
import type { Reason } from '../../src/datapath/reasons.ts';
import type { SkBuff } from '../../src/ebpf/program.ts';
import { BpfNode, HOST_MAC, macOf, POD_MAC, UPLINK_MAC } from './bpfNode.ts';
import { Datapath, type ProgramName } from './bpfRig.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { type FrameFields, frame, tcp, udp, describe as words } from './packets.ts';

/** More than the time for which a way is believed, and the coarse clock's ticks. */
export const WAY_MS = 20;

export const OTHER_MAC = '02:00:00:00:00:04';
export const OTHER_GATEWAY = '02:00:00:00:00:05';
export const OVERLAY_MAC = '02:74:c0:00:02:02';

/** Who is who in one family; the pod stands behind `tbo`, the other one behind a device that nothing is sent through here. */
export const CASTS = [
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
export let datapath: Datapath;
export let node: BpfNode<'vx0' | 'by0'>;

before(() => {
  datapath = new Datapath();
  node = new BpfNode(namespaces, { vx0: OVERLAY_MAC, by0: OTHER_MAC });
  for (const words of [
    'route add 10.9.0.0/16 dev by0',
    'route add blackhole 10.8.0.0/16',
    'route add 10.7.0.0/16 via 192.0.2.1 mtu lock 1300',
  ]) {
    node.ip(words);
  }
});

after(() => {
  datapath?.close();
  namespaces.close();
});

beforeEach(async () => {
  datapath.forget();
  await setTimeout(WAY_MS);
  const { tb_pods, tb_tunnels } = datapath.maps;
  changeNode({ vxlan: node.index.vx0 });
  for (const { family, pod, other, slow, tunnelled, native } of CASTS) {
    tb_pods.set(parseIP(pod), node.pod);
    const elsewhere = { ifindex: node.index.by0, mac: macOf(OTHER_MAC), gateway: macOf(OTHER_GATEWAY) };
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

/** What the programs know of the node, until the next test. */
export function changeNode(changes: Partial<ThisNode>): void {
  datapath.maps.tb_node.set(0, { ...node.itself, ipv6: NO_ADDRESS, ...changes });
}

/** Hands a frame to a program; what it did. */
export function run(program: ProgramName, bytes: Buffer, context: SkBuff): { verdict: number; data: Buffer } {
  return node.run(datapath, program, bytes, context);
}

export function fromPod(fields: Omit<FrameFields, 'transport'> & Partial<FrameFields>, context: SkBuff = {}) {
  const given = {
    sourceMac: POD_MAC,
    destinationMac: HOST_MAC,
    transport: tcp({ from: 40000, to: 80 }),
    ...fields,
  };
  return { given, ...run('tb_host_ingress', frame(given), { ifindex: node.index.tbo, ...context }) };
}

export type Outcome = ReturnType<typeof fromPod>;

export function redirected({ verdict, data }: Outcome, expected: FrameFields, reason: Reason): void {
  assert.equal(words(data), words(frame(expected)));
  assert.equal(verdict, VERDICTS.redirect);
  assert.deepEqual(datapath.metrics(), { [reason]: 1 });
}

/** Untouched, and counted. */
export function leftToStack({ verdict, data, given }: Outcome, reason: Reason): void {
  assert.equal(words(data), words(frame(given)));
  assert.equal(verdict, VERDICTS.next);
  assert.deepEqual(datapath.metrics(), { [reason]: 1 });
}

export function dropped({ verdict }: { verdict: number }, reason: Reason): void {
  assert.equal(verdict, VERDICTS.drop);
  assert.deepEqual(datapath.metrics(), { [reason]: 1 });
}

/** A packet that comes by the uplink. */
export function byUplink(fields: Pick<FrameFields, 'source' | 'destination'> & Partial<FrameFields>) {
  const given = {
    sourceMac: OTHER_GATEWAY,
    destinationMac: UPLINK_MAC,
    transport: udp({ from: 53, to: 40000, payload: 'answer' }),
    ...fields,
  };
  return { given, ...run('tb_uplink_in', frame(given), { ifindex: node.index.up0 }) };
}
