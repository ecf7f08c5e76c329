// The plugin from outside, where only the protocol counts: environment, input, versions, error objects.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Runtime } from './cniRuntime.ts';
import { TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('cniprotocol');
const node = namespaces.create('node');
const podNamespace = namespaces.create('pod');
const pod = { id: 'c1', netns: podNamespace.path };
const runtimes: Runtime[] = [];

after(() => {
  for (const runtime of runtimes) runtime.close();
  namespaces.close();
});

for (const program of ['dist/cni/tombolo', 'dist/cni/tombolo.cjs']) {
  describe(program, () => {
    const runtime = new Runtime(program, node);
    runtimes.push(runtime);

    test('VERSION answers without reading its input', { timeout: 2_000 }, async () => {
      const { code, json } = await runtime.call('VERSION', undefined, {
        input: null,
        variables: { CNI_PATH: undefined },
      });
      assert.equal(code, 0);
      assert.deepEqual(json, {
        cniVersion: '1.1.0',
        supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
      });
    });

    test('run by hand it says what it is', { timeout: 2_000 }, async () => {
      const { code, output, errors } = await runtime.call(undefined, undefined, { input: null });
      assert.equal(code, 0);
      assert.equal(output, '');
      assert.match(errors, /CNI plugin tombolo .*\n.*0\.3\.1, 0\.4\.0, 1\.0\.0, 1\.1\.0/);
    });

    test('missing variables are code 4, all of them named, per verb', async () => {
      const all = ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'];
      const required: Record<string, string[]> = {
        ADD: all,
        CHECK: all,
        DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
        GC: ['CNI_PATH'],
        STATUS: ['CNI_PATH'],
      };
      for (const [verb, names] of Object.entries(required)) {
        const { code, msg } = await runtime.fail(verb, undefined, { variables: { CNI_PATH: undefined } });
        assert.equal(code, 4);
        assert.deepEqual(
          all.filter((name) => msg.includes(name)),
          names,
        );
      }
    });

    test('an unknown verb is code 4', async () => {
      assert.equal((await runtime.fail('REMOVE', pod)).code, 4);
    });

    test('names that cannot be are refused: containers and interfaces with 4, networks with 7', async () => {
      const variants: [Record<string, string>, number][] = [
        [{ CNI_CONTAINERID: '-c' }, 4],
        [{ CNI_CONTAINERID: 'c/../d' }, 4],
        [{ CNI_IFNAME: '0123456789abcdef' }, 4],
        [{ CNI_IFNAME: '.' }, 4],
        [{ CNI_IFNAME: '..' }, 4],
        [{ CNI_IFNAME: 'a/b' }, 4],
        [{ CNI_IFNAME: 'a:b' }, 4],
        [{ CNI_IFNAME: 'a b' }, 4],
        [{ CNI_IFNAME: 'a\nb' }, 4],
      ];
      for (const [variables, code] of variants) {
        assert.equal((await runtime.fail('ADD', pod, { variables })).code, code, JSON.stringify(variables));
      }
      for (const name of ['', '-x', 'a b', 'a/b']) {
        assert.equal((await runtime.fail('ADD', pod, { config: { name } })).code, 7, name);
      }
    });

    test('input that is no JSON object is code 6', async () => {
      for (const input of ['', '{', '[]', 'null', '{"a":1} x']) {
        assert.equal((await runtime.fail('ADD', pod, { input })).code, 6, input);
      }
    });

    test('versions that do not fit are code 1 with the list of those that do', async () => {
      const variants: [string, string | undefined][] = [
        ['ADD', '9.9.9'],
        ['ADD', undefined],
        ['DEL', '0.2.0'],
        ['CHECK', '0.3.1'],
        ['GC', '1.0.0'],
        ['STATUS', '1.0.0'],
      ];
      for (const [verb, cniVersion] of variants) {
        const { code, details } = await runtime.fail(verb, pod, { config: { cniVersion } });
        assert.equal(code, 1, `${verb} ${cniVersion}`);
        assert.match(details, /0\.3\.1/);
      }
    });

    test('an error is worded in the version of the configuration', async () => {
      const { cniVersion } = await runtime.fail('ADD', pod, { config: { cniVersion: '0.4.0', mtu: 'x' } });
      assert.equal(cniVersion, '0.4.0');
    });

    test('a wrong value is code 7 and named', async () => {
      const { code, msg } = await runtime.fail('ADD', pod, { config: { attachment: 'bridge' } });
      assert.equal(code, 7);
      assert.match(msg, /"attachment".*"bridge"/);
      assert.equal((await runtime.fail('ADD', pod, { config: { attachment: 'nic' } })).code, 7);
    });

    test('what would have to be ignored is code 2', async () => {
      for (const runtimeConfig of [
        { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }] },
        { bandwidth: { ingressRate: 1e6, ingressBurst: 8e6, egressRate: 0, egressBurst: 0 } },
      ]) {
        const { code, msg } = await runtime.fail('ADD', pod, {
          config: { runtimeConfig },
          variables: { CNI_PATH: '/opt/nothing' },
        });
        assert.equal(code, 2);
        assert.ok(msg.includes(JSON.stringify(Object.values(runtimeConfig)[0])), msg);
      }
      assert.equal((await runtime.fail('ADD', pod, { config: { ipMasq: true } })).code, 2);
    });

    test('a namespace that is not there, or is the node’s own, is code 8', async () => {
      assert.equal((await runtime.fail('ADD', { ...pod, netns: '/run/netns/no-such' })).code, 8);
      assert.equal((await runtime.fail('ADD', { ...pod, netns: node.path })).code, 8);
      const { code, msg } = await runtime.fail('ADD', { ...pod, netns: '/etc/hostname' });
      assert.deepEqual(
        { code, msg },
        { code: 8, msg: 'Cannot use network namespace /etc/hostname: it is none' },
      );
    });

    test('without an agent ADD is to be tried again later and STATUS says 50', async () => {
      assert.equal((await runtime.fail('ADD', pod)).code, 11);
      assert.equal((await runtime.fail('STATUS')).code, 50);
      assert.equal(
        (await runtime.fail('STATUS', undefined, { config: { ipam: runtime.hostLocal('10.1.0.0/24') } }))
          .code,
        50,
      );
    });

    test('a log file that takes nothing keeps no verb from its work', async () => {
      for (const logFile of ['/dev/full', '/no/such/directory/log']) {
        // A member that means nothing is worth a line in the log.
        const config = { logFile, stranger: true };
        const { code, errors } = await runtime.call('DEL', pod, { config });
        assert.equal(code, 0, logFile);
        assert.match(errors, /has a member that means nothing/);
        assert.equal((await runtime.fail('ADD', pod, { config })).code, 11, logFile);
      }
    });

    test('GC without a list is refused, for it would remove everything', async () => {
      assert.equal((await runtime.fail('GC')).code, 7);
    });
  });
}
