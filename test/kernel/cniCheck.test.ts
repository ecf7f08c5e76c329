// CHECK and GC without an agent.
import assert from 'node:assert/strict';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../cni/protocol/members.ts';
import { type Loose, newPod, setUp } from './cniAloneScene.ts';

for (const program of ['dist/cni/tombolo', 'dist/cni/tombolo.cjs']) {
  describe(program, () => {
    test('CHECK passes an untouched pod and names what is wrong with any other', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      const prevResult: JsonObject = await runtime.succeed('ADD', pod);
      const host: string = (prevResult as Loose).interfaces[0].name;
      const check = (result: unknown = prevResult) =>
        runtime.call('CHECK', pod, { config: { prevResult: result } });
      const { code, output } = await check();
      assert.deepEqual({ code, output }, { code: 0, output: '' });

      const { namespace } = pod;
      const ipamFile = join(runtime.directory, 'ipam', 'pods', '10.9.0.2');
      const messages = new Set<string>();
      const breakAndCheck = async (what: string, happen: () => unknown, pattern: RegExp) => {
        happen();
        const { msg } = await runtime.fail('CHECK', pod, { config: { prevResult } });
        assert.match(msg, pattern, what);
        assert.ok(!messages.has(msg), `${what} is told apart from the others: ${msg}`);
        messages.add(msg);
        await runtime.call('DEL', pod);
        await runtime.succeed('ADD', pod, { config: { runtimeConfig: { ips: ['10.9.0.2'] } } });
        assert.equal((await check(await current())).code, 0, `mended after ${what}`);
      };
      const current = async () => {
        const fresh: Loose = structuredClone(prevResult);
        fresh.interfaces[1].mac = namespace.ip('link show eth0')[0].address;
        fresh.interfaces[0].mac = runtime.node.ip(`link show ${host}`)[0].address;
        Object.assign(prevResult, fresh);
        return fresh;
      };
      await breakAndCheck(
        'address',
        () => namespace.run('ip', 'address', 'flush', 'dev', 'eth0', 'scope', 'global'),
        /10\.9\.0\.2/,
      );
      await breakAndCheck(
        'route',
        () => namespace.run('ip', 'route', 'del', 'default'),
        /default|0\.0\.0\.0\/0/,
      );
      await breakAndCheck(
        'link down',
        () => namespace.run('ip', 'link', 'set', 'eth0', 'down'),
        /eth0.*down|down.*eth0|not up/,
      );
      await breakAndCheck('link gone', () => namespace.run('ip', 'link', 'del', 'eth0'), /eth0|tbo/);
      await breakAndCheck(
        'host route',
        () => runtime.node.run('ip', 'route', 'del', '10.9.0.2'),
        /10\.9\.0\.2/,
      );
      await breakAndCheck(
        'host link down',
        () => runtime.node.run('ip', 'link', 'set', host, 'down'),
        new RegExp(host),
      );
      await breakAndCheck(
        'neighbour',
        () => namespace.run('ip', 'neigh', 'flush', 'dev', 'eth0', 'nud', 'permanent'),
        /169\.254\.1\.1|neighbour/,
      );
      await breakAndCheck('IPAM', () => rmSync(ipamFile), /host-local CHECK/);
    });

    test('CHECK compares the runtime’s memory with the node’s', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      const result: Loose = await runtime.succeed('ADD', pod);
      const altered = (change: (copy: Loose) => void) => {
        const copy = structuredClone(result);
        change(copy);
        return runtime.fail('CHECK', pod, { config: { prevResult: copy } });
      };
      assert.match((await runtime.fail('CHECK', pod)).msg, /"prevResult" is missing/);
      assert.match((await altered((copy) => (copy.ips[0].address = '10.9.0.9/32'))).msg, /10\.9\.0\.2/);
      assert.match((await altered((copy) => copy.interfaces.shift())).msg, /tbo|eth0/);
      assert.match((await altered((copy) => copy.interfaces.pop())).msg, /eth0/);
      assert.match(
        (await altered((copy) => copy.ips.push({ ...copy.ips[0], address: '10.9.0.9/32' }))).msg,
        /10\.9\.0\.9/,
      );
      const chained = structuredClone(result);
      chained.interfaces.push({ name: 'ifb0' });
      chained.routes.push({ dst: '203.0.113.0/24' });
      assert.equal((await runtime.call('CHECK', pod, { config: { prevResult: chained } })).code, 0);
      assert.equal((await runtime.fail('CHECK', newPod(), { config: { prevResult: result } })).code, 3);
    });

    test('GC removes what the runtime does not list, and only of this network', async () => {
      const runtime = setUp(program);
      const [kept, lost, foreign] = [newPod('kept'), newPod('lost'), newPod('foreign')];
      await runtime.succeed('ADD', kept);
      const before = runtime.traces();
      await runtime.succeed('ADD', lost);
      await runtime.succeed('ADD', { ...kept, ifName: 'net1' });
      const others = { config: { name: 'others', ipam: runtime.hostLocal('10.8.0.0/24') } };
      await runtime.succeed('ADD', foreign, others);
      await runtime.succeed('GC', undefined, {
        config: { 'cni.dev/valid-attachments': [{ containerID: kept.id, ifname: 'eth0' }] },
      });
      assert.deepEqual(runtime.held(), ['10.9.0.2']);
      assert.ok(runtime.node.pings('10.9.0.2'));
      assert.equal((runtime.traces().records as string[]).length, 2);
      await runtime.succeed('DEL', foreign, others);
      assert.deepEqual(runtime.traces(), before);
      await runtime.succeed('GC', undefined, { config: { 'cni.dev/attachments': [] } });
      assert.deepEqual(runtime.held(), []);
      assert.deepEqual(runtime.traces().records, []);
    });

    test('GC carries on past an attachment that resists, and reports it', async () => {
      const runtime = setUp(program);
      const directory = join(runtime.directory, 'bin');
      const pods = [newPod(), newPod(), newPod()];
      for (const pod of pods) await runtime.succeed('ADD', pod);
      rmSync(directory, { recursive: true, force: true });
      const { mkdirSync } = await import('node:fs');
      mkdirSync(directory);
      const stubborn = `[ "$CNI_COMMAND $CNI_CONTAINERID" = "DEL ${pods[1]?.id}" ] && { echo '{"code":11,"msg":"busy"}'; exit 1; }`;
      writeFileSync(join(directory, 'host-local'), `#!/bin/sh\n${stubborn}\nexec /usr/lib/cni/host-local\n`);
      chmodSync(join(directory, 'host-local'), 0o755);
      const { msg, details } = await runtime.fail('GC', undefined, {
        config: { 'cni.dev/valid-attachments': [] },
        variables: { CNI_PATH: directory },
      });
      assert.match(msg, /1 left/);
      assert.match(details, new RegExp(`${pods[1]?.id}.*busy`));
      assert.deepEqual(runtime.held(), ['10.9.0.3']);
      assert.equal((runtime.traces().records as string[]).length, 1);
      await runtime.succeed('GC', undefined, { config: { 'cni.dev/valid-attachments': [] } });
      assert.deepEqual(runtime.held(), []);
    });
  });
}
