import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { infoOf } from '../../src/ebpf/bpf.ts';
import { programInfo } from '../../src/ebpf/program.ts';
import { Datapath, OBJECTS, type ProgramName } from './bpfRig.ts';
import { at, TestPod } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { frame, tcp, udp } from './packets.ts';

/** Instructions the verifier may walk through (BPF_COMPLEXITY_LIMIT_INSNS, since 5.2), and how much of that is ours. */
const LIMIT = 1_000_000;
const SHARE = 0.6;

/** `bpf_prog_info.verified_insns`, since 5.16. */
const VERIFIED = { offset: 216, size: 232 };

const PROGRAMS: readonly ProgramName[] = [
  'tb_eth0_egress',
  'tb_eth0_ingress',
  'tb_lo',
  'tb_host_ingress',
  'tb_host_egress',
  'tb_uplink_in',
  'tb_uplink_out',
  'tb_vxlan_in',
  'tb_vxlan_out',
  'tb_takeover',
  'tb_connect4',
  'tb_connect6',
  'tb_sendmsg4',
  'tb_sendmsg6',
  'tb_recvmsg4',
  'tb_recvmsg6',
  'tb_getpeername4',
  'tb_getpeername6',
  'tb_sock_release',
  'tb_flow_gc',
  'tb_held_gc',
  'tb_nat_gc',
  'tb_handover_gc',
];

const namespaces = new TestNamespaces('bpfbudget');
let datapath: Datapath;
before(() => {
  datapath = new Datapath();
});
after(() => {
  datapath?.close();
  namespaces.close();
});

describe('every program', () => {
  for (const name of PROGRAMS) {
    test(`${name} is verified within the budget`, (t) => {
      const verified = infoOf(datapath.program(name), VERIFIED.size, name).readUInt32LE(VERIFIED.offset);
      t.diagnostic(
        `${name}: ${verified} instructions verified, ${((100 * verified) / LIMIT).toFixed(1)} % of the limit`,
      );
      assert.ok(verified > 0 && verified < LIMIT * SHARE);
    });

    test(`${name} is found under its whole name`, () => {
      assert.equal(programInfo(datapath.program(name)).name, name);
    });
  }

  test('writes no trace', () => {
    for (const object of OBJECTS) {
      const path = join(import.meta.dirname, `../../dist/bpf/${object}.o`);
      const code = execFileSync('llvm-objdump', ['-d', path], { encoding: 'utf8' });
      // bpf_trace_printk and bpf_trace_vprintk.
      assert.doesNotMatch(code, /call (6|177)$/m);
    }
  });
});

describe('a packet of a known flow', () => {
  const clients = { 4: '10.1.0.2', 6: 'fd00:1::2' };
  // Two services that are each other's backend, so that a packet handed in again and again is translated every time.
  const pairs = { 4: ['10.96.0.1', '10.96.0.2'], 6: ['fd00:96::1', 'fd00:96::2'] } as const;

  test('costs so many nanoseconds, by the best of five', (t) => {
    const pod = new TestPod(namespaces, datapath);
    const best = (program: ProgramName, bytes: Buffer) =>
      Math.min(...[1, 2, 3, 4, 5].map(() => pod.run(program, bytes, 100_000).duration));
    for (const family of [4, 6] as const) {
      const source = clients[family];
      const [one, two] = pairs[family];
      for (const [protocol, near, far] of [
        ['TCP', 80, 8080],
        ['UDP', 53, 5353],
      ] as const) {
        datapath.addService({ frontend: at(one, near), protocol, backends: [at(two, far)] });
        datapath.addService({ frontend: at(two, far), protocol, backends: [at(one, near)] });
        const transport = (from: number, to: number, flags: string) =>
          protocol === 'TCP' ? tcp({ from, to, flags }) : udp({ from, to });
        pod.run(
          'tb_eth0_egress',
          frame({ source, destination: one, transport: transport(40000, near, 'S') }),
        );
        pod.run('tb_eth0_egress', frame({ source, destination: two, transport: transport(40000, far, 'S') }));
        const egress = best(
          'tb_eth0_egress',
          frame({ source, destination: one, transport: transport(40000, near, '.') }),
        );
        const ingress = best(
          'tb_eth0_ingress',
          frame({ source: two, destination: source, transport: transport(far, 40000, '.') }),
        );
        t.diagnostic(`${protocol} over IPv${family}: egress ${egress} ns, ingress ${ingress} ns`);
        assert.ok(egress > 0 && ingress > 0);
      }
      const other = family === 4 ? '10.1.0.9' : 'fd00:1::9';
      const direct = frame({
        source,
        destination: other,
        transport: tcp({ from: 40000, to: 80, flags: '.' }),
      });
      t.diagnostic(
        `not for a service, over IPv${family}: egress ${best('tb_eth0_egress', direct)} ns, ingress ${best('tb_eth0_ingress', direct)} ns`,
      );
    }
    assert.equal(datapath.metrics().flow_created, 8);
  });
});
