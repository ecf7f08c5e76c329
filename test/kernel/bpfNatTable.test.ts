import assert from 'node:assert/strict';
import { before, beforeEach, describe, test } from 'node:test';
import {
  age,
  arrives,
  CASTS,
  datapath,
  drops,
  flows,
  load,
  OUT,
  open,
  run,
  stand,
  TO_POD,
} from './bpfNatScene.ts';
import { at, VERDICTS } from './bpfTestPod.ts';
import { frame, tcp } from './packets.ts';

before(() => {
  // Room for two flows.
  load({ maxEntries: { tb_nat: 4 } });
  for (const { pod, vip } of CASTS) open(at(vip, 80), [at(pod, 8080)], 'TCP');
});
beforeEach(() => stand(1000));

for (const { family, pod, client, vip } of CASTS) {
  const asks = { source: pod, destination: client };
  const calls = { source: client, destination: vip };

  describe(`a full table, by IPv${family}`, () => {
    test('drops what begins and keeps what there is, until a flow is over and collected', () => {
      const attempt = (from: number) =>
        run('tb_uplink_out', frame({ ...OUT, ...asks, transport: tcp({ from, to: 443 }) }));
      const verdicts = Array.from({ length: 40 }, (_, from) => attempt(from + 1).verdict);
      const entered = verdicts.filter((verdict) => verdict === VERDICTS.next).length;
      assert.ok(entered >= 2 && entered < 40, `${entered} flows`);
      assert.equal(datapath.metrics().nat_table_full, 40 - entered);
      assert.equal(flows().length % 2, 0, 'no half without its other');
      assert.equal(attempt(1).verdict, VERDICTS.next);
      const call = { ...calls, transport: tcp({ from: 5000, to: 80 }) };
      drops('tb_uplink_in', call, 'nat_table_full');
      age(61);
      const { expired } = datapath.collect('tb_nat_gc', 'tb_nat');
      assert.equal(expired, entered);
      arrives(call, {
        ...TO_POD,
        source: client,
        destination: pod,
        transport: tcp({ from: 5000, to: 8080 }),
      });
    });
  });
}
