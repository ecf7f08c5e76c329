import assert from 'node:assert/strict';
import { test } from 'node:test';
import { summarise } from './verifierLog.ts';

test('a verifier log is summed up by program, instruction and last message', () => {
  const log = `libbpf: prog 'tb_lo': BPF program load failed: Permission denied
libbpf: prog 'tb_lo': -- BEGIN PROG LOAD LOG --
0: R1=ctx(off=0,imm=0) R10=fp0
; return *(int *)skb->data;
0: (61) r1 = *(u32 *)(r1 +76)         ; R1_w=pkt(off=0,r=0,imm=0)
1: (61) r0 = *(u32 *)(r1 +0)
R1 offset is outside of the packet
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'tb_lo': failed to load: -13
`;
  assert.equal(
    summarise(log),
    'the verifier refuses program tb_lo, instruction 1: R1 offset is outside of the packet',
  );
});

test('a log that was cut short still names the program', () => {
  assert.equal(
    summarise("libbpf: prog 'tb_lo': -- BEGIN PROG LOAD LOG --\n"),
    'the verifier refuses program tb_lo: no reason given',
  );
});

test('without a verifier log the first complaint of libbpf is the reason', () => {
  assert.equal(
    summarise(
      "libbpf: elf: skipping unrecognized data section(9)\nlibbpf: map 'a': failed to create\nlibbpf: b\n",
    ),
    "map 'a': failed to create",
  );
  assert.equal(summarise(''), 'libbpf gives no reason');
});
