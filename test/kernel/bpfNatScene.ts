// What the tests of translation at the uplink have in common: a node that hides its pods, and clients outside.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { parseIP } from '../../src/address/ip.ts';
import { NAT_FLAGS, type Nat, type NatKey } from '../../src/datapath/maps/nat.ts';
import { NODE_FLAGS } from '../../src/datapath/maps/node.ts';
import { TUNNEL_FLAGS } from '../../src/datapath/maps/tunnels.ts';
import type { Reason } from '../../src/datapath/reasons.ts';
import { BpfNode, HOST_MAC, POD_MAC, UPLINK_MAC } from './bpfNode.ts';
import { Datapath, type DatapathOptions, endpointOf, type ProgramName } from './bpfRig.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { type FrameFields, frame, icmp, packet, type Transport, describe as words } from './packets.ts';

const LEAF_MAC = '02:00:00:00:00:09';

export const CASTS = [
  {
    family: 4,
    node: '192.0.2.2',
    pod: '10.1.0.2',
    far: '10.2.0.7',
    client: '198.51.100.7',
    router: '198.51.100.1',
    vip: '203.0.113.10',
    range: '203.0.113.77',
  },
  {
    family: 6,
    node: '2001:db8::2',
    pod: 'fd01::2',
    far: 'fd02::7',
    client: '2001:db8:100::7',
    router: '2001:db8:100::1',
    vip: '2001:db8:203::10',
    range: '2001:db8:203::77',
  },
] as const;

/** One port, so that it is known which it is. */
export const PORT = 20_000;

const namespaces = new TestNamespaces('tboutnat');
export let datapath: Datapath;
let node: BpfNode;

before(() => {
  node = new BpfNode(namespaces, {});
});

after(() => {
  datapath?.close();
  namespaces.close();
});

/** To be called before the tests of a file. */
export function load(options: DatapathOptions = {}): void {
  datapath = new Datapath(options);
}

/** Forgets all flows: a node that hides its pods, knows one pod in each family, one elsewhere, and a range of service addresses. */
export function stand(ports = 1, flags: number = NODE_FLAGS.masquerades): void {
  datapath.forget();
  datapath.maps.tb_node.set(0, { ...node.itself, flags, first_port: PORT, ports });
  for (const { family, pod, far, vip } of CASTS) {
    datapath.maps.tb_pods.set(parseIP(pod), node.pod);
    const length = family === 4 ? 120 : 64;
    const [inside, ranges] = [
      { endpoint: undefined, holder: undefined, flags: TUNNEL_FLAGS.ofPods },
      { endpoint: undefined, holder: undefined, flags: TUNNEL_FLAGS.ofServices },
    ];
    datapath.maps.tb_tunnels.set({ length, address: parseIP(far) }, inside);
    datapath.maps.tb_tunnels.set({ length, address: parseIP(vip) }, ranges);
  }
}

/** Enters a service for clients outside. */
export function open(
  frontend: string,
  backends: readonly string[],
  protocol: 'TCP' | 'UDP',
  shared = false,
): void {
  datapath.addService({ frontend, protocol, backends, shared });
  const inside = endpointOf(frontend, protocol);
  const { tb_services } = datapath.maps;
  for (const key of [inside, { ...inside, port: 0, protocol: 0 }]) {
    const value = tb_services.get(key);
    assert.ok(value);
    tb_services.set({ ...key, scope: 'outside' }, value);
    tb_services.delete(key);
  }
}

export function run(program: ProgramName, bytes: Buffer): { verdict: number; data: Buffer } {
  return node.run(datapath, program, bytes, { ifindex: node.index.up0 });
}

export const OUT = { sourceMac: UPLINK_MAC, destinationMac: LEAF_MAC } as const;
export const IN = { sourceMac: LEAF_MAC, destinationMac: UPLINK_MAC } as const;
/** What a pod of the node gets. */
export const TO_POD = { sourceMac: HOST_MAC, destinationMac: POD_MAC, ttl: 63 } as const;

export type Fields = Omit<FrameFields, 'sourceMac' | 'destinationMac'>;

/** A packet leaves by the uplink, and looks like this on the wire. */
export function leaves(given: Fields, expected: Fields): void {
  const { verdict, data } = run('tb_uplink_out', frame({ ...OUT, ...given }));
  assert.equal(words(data), words(frame({ ...OUT, ...expected })));
  assert.equal(verdict, VERDICTS.next);
}

/** A packet comes by the uplink, and becomes this. */
export function arrives(given: Fields, expected: FrameFields, verdict: number = VERDICTS.redirect): void {
  const result = run('tb_uplink_in', frame({ ...IN, ...given }));
  assert.equal(words(result.data), words(frame(expected)));
  assert.equal(result.verdict, verdict);
}

export function drops(program: 'tb_uplink_in' | 'tb_uplink_out', given: Fields, reason: Reason): void {
  const before = datapath.metrics()[reason] ?? 0;
  const { verdict } = run(program, frame({ ...(program === 'tb_uplink_in' ? IN : OUT), ...given }));
  assert.equal(verdict, VERDICTS.drop);
  assert.equal(datapath.metrics()[reason], before + 1);
}

export function flows(): [NatKey, Nat][] {
  return [...datapath.maps.tb_nat.entries()];
}

export function stage(): Pick<Nat, 'state' | 'flags'> {
  const both = flows();
  const client = both.find(([, { flags }]) => !(flags & NAT_FLAGS.reply))?.[1];
  const server = both.find(([, { flags }]) => flags & NAT_FLAGS.reply)?.[1];
  assert.ok(client && server && both.length === 2, `${both.length} halves`);
  assert.deepEqual(
    [server.state, server.flags & ~NAT_FLAGS.reply],
    [client.state, client.flags],
    'both halves say the same',
  );
  return { state: client.state, flags: client.flags };
}

export function age(seconds: number): void {
  for (const [key, nat] of flows()) {
    datapath.maps.tb_nat.set(key, {
      ...nat,
      seen: (nat.seen - seconds) >>> 0,
      since: (nat.since - seconds) >>> 0,
    });
  }
}

export function echo(family: 4 | 6, kind: 'request' | 'reply', identifier: number): Transport {
  const type = family === 4 ? { request: 8, reply: 0 } : { request: 128, reply: 129 };
  return icmp(family, type[kind], 0, identifier * 0x10000 + 1, Buffer.from('sixteen bytes...'));
}

export function unreachable(family: 4 | 6, about: Fields, kind: 'port' | 'mtu' = 'port'): Transport {
  const [type, code, rest] =
    kind === 'port' ? (family === 4 ? [3, 3, 0] : [1, 4, 0]) : family === 4 ? [3, 4, 1300] : [2, 0, 1300];
  return icmp(family, type ?? 0, code ?? 0, rest ?? 0, packet(about).subarray(0, family === 4 ? 28 : 48));
}
