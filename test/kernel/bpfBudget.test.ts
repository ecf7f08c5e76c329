import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { programInfo, verifiedInstructions } from '../../src/ebpf/program.ts';
import { Datapath, OBJECTS, type ProgramName } from './bpfRig.ts';
import { at, TestPod } from './bpfTestPod.ts';
import { fallsBackIntoLoops } from './controlFlow.ts';
import { KERNEL } from './kernel.ts';
import { TestNamespaces } from './namespaces.ts';
import { frame, tcp, udp } from './packets.ts';

/** Instructions the verifier may walk through (BPF_COMPLEXITY_LIMIT_INSNS, since 5.2), and how much of that is ours. */
const LIMIT = 1_000_000;
const SHARE = 0.6;

/**
 * How many it does, with a third to spare: every start of an agent pays for them, a million with three seconds. What exceeds
 * this by much most likely goes through some function at each call (docs/adr/0014).
 */
const BUDGETS: Readonly<Record<ProgramName, number>> = {
  tb_eth0_egress: 26_000,
  tb_eth0_ingress: 13_000,
  tb_lo: 19_000,
  tb_host_ingress: 8_000,
  tb_host_egress: 3_000,
  tb_uplink_in: 38_000,
  tb_uplink_out: 21_000,
  tb_vxlan_in: 34_000,
  tb_vxlan_out: 16_000,
  tb_takeover: 19_000,
  tb_connect4: 4_000,
  tb_connect6: 4_000,
  tb_sendmsg4: 4_000,
  tb_sendmsg6: 4_000,
  tb_recvmsg4: 200,
  tb_recvmsg6: 300,
  tb_getpeername4: 200,
  tb_getpeername6: 200,
  tb_sock_release: 100,
  tb_flow_gc: 1_300,
  tb_held_gc: 200,
  tb_nat_gc: 800,
  tb_handover_gc: 300,
};

const PROGRAMS = Object.keys(BUDGETS) as ProgramName[];

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
    const [budget, whose] = KERNEL.verifiesByFunction
      ? [BUDGETS[name], 'its budget']
      : [LIMIT * SHARE, 'the limit, as this kernel verifies functions at each call'];
    test(`${name} is verified within ${whose}`, (t) => {
      const verified = verifiedInstructions(datapath.program(name));
      t.diagnostic(`${name}: ${verified} instructions verified`);
      assert.ok(verified > 0 && verified <= budget, `${verified} of ${budget}`);
    });

    test(`${name} is found under its whole name`, () => {
      assert.equal(programInfo(datapath.program(name)).name, name);
    });
  }

  test('stays within the limit of kernels that verify functions at each call, and have no coarse clock', (t) => {
    const former = new Datapath({ verified: 'by call', constants: { coarse_clock: 0 } });
    try {
      const verified = PROGRAMS.map((name) => verifiedInstructions(former.program(name)));
      const most = Math.max(...verified);
      t.diagnostic(
        `at most ${most} instructions verified, ${((100 * most) / LIMIT).toFixed(1)} % of the limit`,
      );
      assert.ok(Math.min(...verified) > 0 && most < LIMIT * SHARE, `${most} of ${LIMIT * SHARE}`);
    } finally {
      former.close();
    }
  });

  test('writes no trace', () => {
    // bpf_trace_printk and bpf_trace_vprintk.
    for (const object of OBJECTS) assert.doesNotMatch(disassembled(object), /call (6|177)$/m);
  });

  test('goes back in its loops by jumps alone, or verifiers before Linux 6.7 would refuse it', () => {
    for (const object of OBJECTS) assert.deepEqual(fallsBackIntoLoops(disassembled(object)), [], object);
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

function disassembled(object: string): string {
  const path = join(import.meta.dirname, `../../dist/bpf/${object}.o`);
  return execFileSync('llvm-objdump', ['--disassemble', '--no-show-raw-insn', path], { encoding: 'utf8' });
}
