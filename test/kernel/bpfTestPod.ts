/** A pod for test runs: packets are handed to the programs, and its routes and sockets are real. */

import assert from 'node:assert/strict';
import type { Reason } from '../../src/datapath/reasons.ts';
import { skBuff, testRun } from '../../src/ebpf/program.ts';
import type { Datapath, ProgramName } from './bpfRig.ts';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';
import { type FrameFields, frame, describe as words } from './packets.ts';

export const VERDICTS = { next: -1, ok: 0, drop: 2, redirect: 7 } as const;

/** The parties of one family's tests. */
export interface Cast {
  readonly family: 4 | 6;
  readonly client: string;
  /** In brackets where a port follows. */
  readonly service: string;
  readonly backend: string;
  readonly other: string;
  readonly router: string;
}

export const CASTS: readonly Cast[] = [
  {
    family: 4,
    client: '10.1.0.2',
    service: '10.96.0.1',
    backend: '10.1.0.7',
    other: '10.1.0.8',
    router: '192.0.2.1',
  },
  {
    family: 6,
    client: 'fd00:1::2',
    service: 'fd00:96::1',
    backend: 'fd00:1::7',
    other: 'fd00:1::8',
    router: '2001:db8::1',
  },
];

/** `address:port`, as the rig takes it. */
export function at(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

export const POD_MAC = '02:00:00:00:00:aa';
export const GATEWAY_MAC = '02:00:00:00:00:bb';

/** A pod as the plugin makes it: /32 and /128, and one permanent neighbour that everything goes to. */
export class TestPod {
  readonly namespace: TestNamespace;
  readonly ifindex: number;
  readonly #datapath: Datapath;

  constructor(namespaces: TestNamespaces, datapath: Datapath) {
    const host = namespaces.create('host');
    const pod = namespaces.create('pod');
    host.run('ip', ...'link add tbo type veth peer name eth0 netns'.split(' '), pod.name);
    host.run('ip', ...'link set tbo up'.split(' '));
    for (const words of [
      `link set eth0 address ${POD_MAC} up`,
      'address add 10.1.0.2/32 dev eth0',
      'address add fd00:1::2/128 dev eth0 nodad',
      ...['169.254.1.1', 'fe80::1'].flatMap((gateway) => [
        `route add default via ${gateway} dev eth0 onlink`,
        `neighbour replace ${gateway} lladdr ${GATEWAY_MAC} dev eth0 nud permanent`,
      ]),
    ]) {
      pod.run('ip', ...words.split(' '));
    }
    allowLookUps(pod);
    this.namespace = pod;
    this.ifindex = pod.ip('link show eth0')[0].ifindex;
    this.#datapath = datapath;
  }

  run(program: ProgramName, data: Buffer, repeat = 1) {
    return this.namespace.inside(() =>
      testRun(this.#datapath.program(program), { data, repeat, context: skBuff({ ifindex: this.ifindex }) }),
    );
  }

  /** The frame goes on, and looks like this. */
  becomes(program: ProgramName, given: FrameFields, expected: FrameFields): void {
    this.#yields(program, given, VERDICTS.next, expected);
  }

  /** The frame goes on as it came. */
  passes(program: ProgramName, given: FrameFields): void {
    this.#yields(program, given, VERDICTS.next, given);
  }

  /** The frame goes elsewhere, and looks like this. */
  redirects(program: ProgramName, given: FrameFields, expected: FrameFields): void {
    this.#yields(program, given, VERDICTS.redirect, expected);
  }

  /** The frame is dropped, and this is why. */
  drops(program: ProgramName, given: FrameFields, reason: Reason): void {
    const before = this.#datapath.metrics()[reason] ?? 0;
    const { verdict } = this.run(program, frame(given));
    assert.equal(verdict, VERDICTS.drop, `expected a drop: ${words(frame(given))}`);
    assert.equal(this.#datapath.metrics()[reason], before + 1, `${reason} should have been counted`);
  }

  #yields(program: ProgramName, given: FrameFields, verdict: number, expected: FrameFields): void {
    const result = this.run(program, frame(given));
    assert.equal(words(result.data), words(frame(expected)));
    assert.deepEqual(result.data, frame(expected));
    assert.equal(result.verdict, verdict);
  }
}

/** Lets `bpf_fib_lookup` answer, as the plugin does: it is denied where the device asked about does not forward. */
export function allowLookUps(namespace: TestNamespace, on = true): void {
  const families = [4, 6].map((family) => `net.ipv${family}.conf.lo.forwarding=${Number(on)}`);
  namespace.run('sysctl', '-q', '-w', ...families);
}
