// ADD and DEL without an agent, with host-local for the addresses: the plugin works alone.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { addressesOf, type Loose, newPod, setUp, type TestPod } from './cniAloneScene.ts';
import type { TestNamespace } from './namespaces.ts';

for (const program of ['dist/cni/tombolo', 'dist/cni/tombolo.cjs']) {
  describe(program, () => {
    test('a pod gets an address, a route and an answer from its node; the result says so', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      const result: Loose = await runtime.succeed('ADD', pod);
      const [host, eth0] = result.interfaces;
      assert.match(host.name, /^tbo[0-9a-f]{11}$/);
      assert.equal(host.sandbox, undefined);
      const [link] = pod.namespace.ip('link show eth0');
      assert.deepEqual(eth0, { name: 'eth0', mac: link.address, mtu: link.mtu, sandbox: pod.netns });
      assert.equal(host.mac, runtime.node.ip(`link show ${host.name}`)[0].address);
      assert.deepEqual(result.ips, [{ interface: 1, address: '10.9.0.2/32', gateway: '169.254.1.1' }]);
      assert.deepEqual(result.routes, [{ dst: '0.0.0.0/0', gw: '169.254.1.1' }]);
      assert.deepEqual(addressesOf(pod.namespace), ['10.9.0.2/32']);
      assert.ok(pod.namespace.pings('192.0.2.1'));
      assert.ok(runtime.node.pings('10.9.0.2'));
      const [route] = runtime.node.ip('route show proto 111');
      assert.equal(route.dev, host.name);
      assert.deepEqual(
        pod.namespace.ip('neigh show dev eth0').find((one) => one.dst === '169.254.1.1')?.state,
        ['PERMANENT'],
      );
    });

    test('the result is in the version of the configuration', async () => {
      const runtime = setUp(program);
      for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
        const pod = newPod();
        const result: Loose = await runtime.succeed('ADD', pod, { config: { cniVersion } });
        assert.equal(result.cniVersion, cniVersion);
        assert.equal(result.ips[0].version, cniVersion < '1' ? '4' : undefined);
        assert.equal(result.interfaces[1].mtu, cniVersion === '1.1.0' ? 1500 : undefined);
        assert.equal((await runtime.call('DEL', pod, { config: { cniVersion } })).output, '');
      }
      assert.deepEqual(runtime.held(), []);
    });

    test('two families are served side by side', async () => {
      const runtime = setUp(program, '10.9.0.0/24', 'fd00:9::/64');
      const pod = newPod();
      const result: Loose = await runtime.succeed('ADD', pod);
      assert.deepEqual(
        result.ips.map((ip: Loose) => [ip.address, ip.gateway]),
        [
          ['10.9.0.2/32', '169.254.1.1'],
          ['fd00:9::2/128', 'fe80::1'],
        ],
      );
      assert.ok(runtime.node.pings('10.9.0.2'));
      assert.ok(runtime.node.pings('fd00:9::2'), 'IPv6');
      assert.equal((await runtime.call('CHECK', pod, { config: { prevResult: result } })).code, 0);
      await runtime.succeed('DEL', pod);
      assert.deepEqual(runtime.held(), []);
    });

    test('a MAC and an MTU that are asked for are set', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      const config = { mtu: 1400, runtimeConfig: { mac: '02:aa:00:00:00:01' } };
      const result: Loose = await runtime.succeed('ADD', pod, { config });
      const [link] = pod.namespace.ip('link show eth0');
      assert.deepEqual([link.address, link.mtu], ['02:aa:00:00:00:01', 1400]);
      assert.deepEqual([result.interfaces[1].mac, result.interfaces[1].mtu], ['02:aa:00:00:00:01', 1400]);
      assert.equal(runtime.node.ip(`link show ${result.interfaces[0].name}`)[0].mtu, 1400);
    });

    test('an address that is asked for is given, by whichever way it is asked', async () => {
      const runtime = setUp(program);
      const ways = [
        { config: { runtimeConfig: { ips: ['10.9.0.50/24'] } } },
        { config: { args: { cni: { ips: ['10.9.0.51'] } } } },
        { variables: { CNI_ARGS: 'IgnoreUnknown=1;IP=10.9.0.52' } },
      ];
      for (const [index, options] of ways.entries()) {
        const pod = newPod();
        await runtime.succeed('ADD', pod, options);
        assert.deepEqual(addressesOf(pod.namespace), [`10.9.0.${50 + index}/32`]);
      }
    });

    test('the same attachment twice is an error and changes nothing', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      await runtime.succeed('ADD', pod);
      const before = [runtime.traces(), addressesOf(pod.namespace)];
      const { msg } = await runtime.fail('ADD', pod);
      assert.match(msg, /Cannot attach eth0: container .* has it already/);
      assert.deepEqual([runtime.traces(), addressesOf(pod.namespace)], before);
      assert.ok(runtime.node.pings('10.9.0.2'));
    });

    test('a second interface of the same container is another attachment', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      await runtime.succeed('ADD', pod);
      await runtime.succeed('ADD', { ...pod, ifName: 'net1' });
      assert.deepEqual(addressesOf(pod.namespace, 'net1'), ['10.9.0.3/32']);
      await runtime.succeed('DEL', pod);
      assert.deepEqual(addressesOf(pod.namespace, 'net1'), ['10.9.0.3/32']);
      assert.deepEqual(runtime.held(), ['10.9.0.3']);
    });

    test('an interface of that name in the namespace is an error and is left alone', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      pod.namespace.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'other');
      const before = [runtime.traces(), pod.namespace.ip('link')];
      await runtime.fail('ADD', pod);
      assert.deepEqual([runtime.traces(), pod.namespace.ip('link')], before);
    });

    test('an earlier plugin that made the interface is an error; its other work is passed on', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      const earlier = (name: string) => ({
        cniVersion: '1.1.0',
        interfaces: [{ name, sandbox: pod.netns, mac: '02:00:00:00:00:07' }],
        ips: [{ interface: 0, address: '198.51.100.7/24' }],
      });
      const { code, msg } = await runtime.fail('ADD', pod, { config: { prevResult: earlier('eth0') } });
      assert.equal(code, 7);
      assert.match(msg, /an earlier plugin/);
      const result: Loose = await runtime.succeed('ADD', pod, { config: { prevResult: earlier('net9') } });
      assert.deepEqual(
        result.interfaces.map((one: Loose) => one.name.replace(/^tbo.*/, 'tbo')),
        ['net9', 'tbo', 'eth0'],
      );
      assert.deepEqual(
        result.ips.map((ip: Loose) => [ip.interface, ip.address]),
        [
          [0, '198.51.100.7/24'],
          [2, '10.9.0.2/32'],
        ],
      );
      assert.equal((await runtime.call('CHECK', pod, { config: { prevResult: result } })).code, 0);
    });

    test('an ADD that fails leaves the node as it was', async () => {
      const runtime = setUp(program);
      const before = runtime.traces();
      const pod = newPod();
      await runtime.fail('ADD', { ...pod, netns: '/etc/hostname' });
      await runtime.fail('ADD', pod, { config: { attachment: 'nic', device: 'nosuch0' } });
      await runtime.fail('ADD', pod, { config: { ipam: { type: 'no-such-ipam' } } });
      await runtime.fail('ADD', pod, { config: { runtimeConfig: { ips: ['192.0.2.77'] } } });
      assert.deepEqual(runtime.traces(), before);
      assert.deepEqual(
        pod.namespace.ip('link').map((one) => one.ifname),
        ['lo'],
      );
    });

    test('DEL works in every state a pod and a node can be in', async () => {
      const runtime = setUp(program);
      const before = runtime.traces();
      const stateDir = join(runtime.directory, 'state');
      const cases: Record<string, (pod: TestPod) => Promise<unknown>> = {
        'with everything in place, three times': async (pod) => {
          await runtime.succeed('DEL', pod);
          await runtime.succeed('DEL', pod);
        },
        'with the result of ADD': (pod) => runtime.succeed('DEL', pod),
        'without CNI_NETNS': (pod) => runtime.succeed('DEL', pod, { variables: { CNI_NETNS: undefined } }),
        'with a namespace that never was': (pod) =>
          runtime.succeed('DEL', { ...pod, netns: '/run/netns/never' }),
        'with a namespace that is a plain file': (pod) =>
          runtime.succeed('DEL', { ...pod, netns: '/etc/hostname' }),
        'with the node’s own namespace': (pod) =>
          runtime.succeed('DEL', { ...pod, netns: runtime.node.path }),
        'after the namespace is gone': async (pod) => pod.namespace.remove(),
        'after the interface is gone': async (pod) => void pod.namespace.run('ip', 'link', 'delete', 'eth0'),
        'after the interface was renamed': async (pod) => {
          pod.namespace.run('ip', 'link', 'set', 'eth0', 'down');
          pod.namespace.run('ip', 'link', 'set', 'eth0', 'name', 'mine');
        },
        'after the state of the node was lost': async () => rmSync(stateDir, { recursive: true }),
        'after the record was cut short': async () => {
          const [name = ''] = readdirSync(join(stateDir, 'attachments'));
          writeFileSync(join(stateDir, 'attachments', name), '{"version":1,');
        },
        'after the state of IPAM was lost': async () =>
          rmSync(join(runtime.directory, 'ipam'), { recursive: true }),
        'with prevResult that makes no sense': (pod) =>
          runtime.succeed('DEL', pod, { variables: { CNI_ARGS: 'no sense either' } }),
      };
      for (const [name, happen] of Object.entries(cases)) {
        const pod = newPod();
        await runtime.succeed('ADD', pod);
        await happen(pod);
        const { code, output } = await runtime.call('DEL', pod);
        assert.deepEqual({ code, output }, { code: 0, output: '' }, name);
        const { records, ...left } = runtime.traces();
        const { records: _, ...clean } = before;
        assert.deepEqual(left, clean, name);
        assert.deepEqual(
          (records as string[]).filter((file) => file.endsWith('.json')),
          [],
          name,
        );
      }
    });

    test('DEL without any ADD succeeds', async () => {
      const runtime = setUp(program);
      assert.equal((await runtime.call('DEL', newPod())).code, 0);
      assert.equal((await runtime.call('DEL', newPod(), { config: { ipam: undefined } })).code, 0);
    });

    test('without an agent the release of the agent’s addresses is noted', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      await runtime.succeed('DEL', pod, { config: { ipam: undefined } });
      const released = readdirSync(join(runtime.directory, 'state', 'released'));
      assert.equal(released.length, 1);
      assert.match(released[0] ?? '', /^[0-9a-f]{11}\.json$/);
    });

    test('addresses go back where they came from, although the configuration has changed since', async () => {
      const runtime = setUp(program);
      const pod = newPod();
      await runtime.succeed('ADD', pod);
      assert.deepEqual(runtime.held(), ['10.9.0.2']);
      await runtime.succeed('DEL', pod, { config: { ipam: undefined } });
      assert.deepEqual(runtime.held(), []);
    });
  });
}

describe('what other plugins do behind this one', () => {
  const hostPort = (port: number) => ({ hostPort: port, containerPort: 80, protocol: 'tcp' });

  /** A client of the node, and what port 80 of a pod says to it by way of a port of the node. */
  function askFrom(client: TestNamespace, port: number): string {
    for (let attempt = 0; attempt < 50; attempt++) {
      const said = client.attempt('nc', '-w', '1', '192.0.2.1', String(port)).stdout;
      if (said !== '') return said;
    }
    return '';
  }

  test('a host port handed to this plugin reaches the pod, and is closed by DEL and by GC', async () => {
    const runtime = setUp('dist/cni/tombolo');
    const { namespace: client } = newPod('client');
    runtime.node.run('ip', 'link', 'set', 'up1', 'netns', client.name);
    client.run('ip', 'address', 'add', '192.0.2.254/24', 'dev', 'up1');
    client.run('ip', 'link', 'set', 'up1', 'up');
    const [pod, other] = [newPod(), newPod()];
    await runtime.succeed('ADD', pod, { config: { runtimeConfig: { portMappings: [hostPort(8080)] } } });
    await runtime.succeed('ADD', other, { config: { runtimeConfig: { portMappings: [hostPort(8081)] } } });
    const server = 'require("net").createServer((s) => s.end("hello")).listen(80)';
    for (const { namespace } of [pod, other]) namespace.start('node', ['-e', server]);
    assert.equal(askFrom(client, 8080), 'hello');
    assert.equal(askFrom(client, 8081), 'hello');
    await runtime.succeed('DEL', pod);
    await runtime.succeed('GC', undefined, { config: { 'cni.dev/valid-attachments': [] } });
    const rules = runtime.node.run('iptables-save', '-t', 'nat');
    assert.doesNotMatch(rules, /dport (8080|8081)/);
    assert.deepEqual(runtime.held(), []);
  });

  test('a rate handed to this plugin is enforced', async () => {
    const runtime = setUp('dist/cni/tombolo');
    const pod = newPod();
    const before = runtime.traces();
    const rate = { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 8e6, egressBurst: 8e5 };
    const result: Loose = await runtime.succeed('ADD', pod, {
      config: { runtimeConfig: { bandwidth: rate } },
    });
    assert.equal(result.ips[0].address, '10.9.0.2/32');
    assert.equal((await runtime.call('CHECK', pod, { config: { prevResult: result } })).code, 0);
    const server = 'require("net").createServer((s) => s.end(Buffer.alloc(1e6))).listen(80)';
    pod.namespace.start('node', ['-e', server]);
    let bytes = 0;
    let seconds = 0;
    for (let attempt = 0; attempt < 50 && bytes === 0; attempt++) {
      const start = performance.now();
      bytes = runtime.node.attempt('nc', '-w', '2', '10.9.0.2', '80').stdout.length;
      seconds = (performance.now() - start) / 1000;
    }
    assert.equal(bytes, 1e6);
    assert.ok(seconds > 0.7, `a megabyte at a megabyte per second took ${seconds} s`);
    await runtime.succeed('DEL', pod);
    assert.deepEqual(runtime.traces(), before);
  });

  test('when one of them fails the whole ADD is undone', async () => {
    const runtime = setUp('dist/cni/tombolo');
    const before = runtime.traces();
    const pod = newPod();
    const config = {
      runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'icmp' }] },
    };
    const { msg } = await runtime.fail('ADD', pod, { config });
    assert.match(msg, /portmap ADD/);
    assert.deepEqual(runtime.traces(), before);
    assert.deepEqual(
      pod.namespace.ip('link').map((one) => one.ifname),
      ['lo'],
    );
  });
});

describe('many at once', () => {
  test('50 parallel ADDs get 50 addresses and 50 host ends; 50 parallel DELs leave nothing', async () => {
    const runtime = setUp('dist/cni/tombolo');
    const before = runtime.traces();
    const pods = Array.from({ length: 50 }, () => newPod());
    const results: Loose[] = await Promise.all(pods.map((pod) => runtime.succeed('ADD', pod)));
    assert.equal(new Set(results.map((result) => result.ips[0].address)).size, 50);
    assert.equal(new Set(results.map((result) => result.interfaces[0].name)).size, 50);
    for (const result of results.slice(0, 5))
      assert.ok(runtime.node.pings(result.ips[0].address.split('/')[0]));
    await Promise.all(pods.map((pod) => runtime.succeed('DEL', pod)));
    assert.deepEqual(runtime.traces(), before);
  });

  test('an ADD killed at any instant is undone by DEL', async () => {
    const runtime = setUp('dist/cni/tombolo.cjs');
    const before = runtime.traces();
    const pod = newPod();
    for (let round = 0; round < 20; round++) {
      const delay = 15 + Math.random() * 60;
      await runtime.call('ADD', pod, {
        started: (child) => setTimeout(() => child.kill('SIGKILL'), delay),
      });
      const { code, output } = await runtime.call('DEL', pod);
      assert.equal(code, 0, `after ${delay.toFixed(1)} ms: ${output}`);
      const { records, ...left } = runtime.traces();
      const { records: _, ...clean } = before;
      assert.deepEqual(left, clean, `after ${delay.toFixed(1)} ms`);
      assert.deepEqual(
        (records as string[]).filter((file) => file.endsWith('.json')),
        [],
      );
      assert.deepEqual(
        pod.namespace.ip('link').map((one) => one.ifname),
        ['lo'],
      );
    }
  });
});

test('the directories of the configuration are the only ones used', async () => {
  const runtime = setUp('dist/cni/tombolo');
  await runtime.succeed('ADD', newPod());
  assert.ok(existsSync(join(runtime.directory, 'state', 'attachments')));
});
