import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIP } from '../../src/address/ip.ts';
import { withArgs } from './capabilities.ts';
import { decodeConfiguration, parseConfiguration } from './configuration.ts';
import { CniError } from './error.ts';
import type { JsonObject } from './members.ts';
import { negotiate, VERBS, VERSIONS } from './version.ts';

const minimal = { cniVersion: '1.1.0', name: 'pods', type: 'tombolo' };

const refused = (run: () => unknown): CniError => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return error;
  }
  return assert.fail('accepted');
};

test('the shortest configuration is complete', () => {
  const configuration = parseConfiguration(minimal);
  assert.deepEqual(configuration.attachment, { attachment: 'veth' });
  assert.equal(configuration.agentSocket, '/run/tombolo/agent.sock');
  assert.equal(configuration.stateDir, '/var/lib/tombolo');
  assert.equal(configuration.mtu, 0);
  assert.equal(configuration.ipam, undefined);
  assert.equal(configuration.validAttachments, undefined);
});

test('input that is not one JSON object is code 6', () => {
  for (const input of ['', ' \n', '{', 'null', '[]', '7', '{} {}', '{"a":1,}']) {
    assert.equal(refused(() => decodeConfiguration(input)).code, 6, JSON.stringify(input));
  }
});

test('decoding never fails with anything but a CNI error', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (input) => {
      try {
        parseConfiguration(decodeConfiguration(input));
      } catch (error) {
        assert.ok(error instanceof CniError, String(error));
      }
    }),
  );
});

test('any JSON value in any known member is accepted or refused as CNI refuses', () => {
  const names = fc.constantFrom(
    'attachment', 'device', 'master', 'kind', 'mtu', 'agentSocket', 'stateDir', 'bpfDir', 'ipam', 'logLevel',
    'logFile', 'runtimeConfig', 'args', 'prevResult', 'dns', 'ipMasq', 'cni.dev/valid-attachments',
  ); // biome-ignore format: a list is read faster in lines
  fc.assert(
    fc.property(names, fc.jsonValue(), (name, value) => {
      try {
        parseConfiguration({ ...minimal, [name]: value });
      } catch (error) {
        assert.ok(error instanceof CniError && (error.code === 7 || error.code === 2), String(error));
      }
    }),
  );
});

test('a wrong value is code 7 and named with its path', () => {
  const cases: [JsonObject, RegExp][] = [
    [{ name: undefined }, /"name" is missing/],
    [{ name: '-x' }, /"name".*"-x"/],
    [{ attachment: 'bridge' }, /"attachment".*"veth", "nic".*"bridge"/],
    [{ attachment: 'nic', device: 'a/b' }, /"device".*"a\/b"/],
    [{ device: 'eth1' }, /"device" needs "attachment" to be "nic"/],
    [{ attachment: 'nic', master: 'eth1' }, /"kind" is missing/],
    [{ attachment: 'nic', kind: 'macvlan' }, /"kind" needs "master"/],
    [{ attachment: 'nic', master: 'eth1', kind: 'bond' }, /"kind".*"bond"/],
    [{ attachment: 'nic', master: 'eth1', kind: 'ipvlan', device: 'eth2' }, /exclude each other/],
    [{ mtu: 67 }, /"mtu".*67/],
    [{ mtu: '1500' }, /"mtu".*"1500"/],
    [{ mtu: 65536 }, /"mtu"/],
    [{ agentSocket: 'agent.sock' }, /"agentSocket".*absolute path/],
    [{ stateDir: 7 }, /"stateDir"/],
    [{ ipam: { subnet: '10.0.0.0/24' } }, /"ipam.type" is missing/],
    [{ ipam: { type: '../evil' } }, /"ipam.type"/],
    [{ ipam: [] }, /"ipam"/],
    [{ logLevel: 'loud' }, /"logLevel".*"loud"/],
    [{ runtimeConfig: { ips: ['10.0.0.1', 'ten'] } }, /"runtimeConfig.ips\[1\]".*"ten"/],
    [{ runtimeConfig: { mac: '01:00:5e:00:00:01' } }, /"runtimeConfig.mac".*group/],
    [{ runtimeConfig: { bandwidth: { ingressRate: -1 } } }, /"runtimeConfig.bandwidth.ingressRate".*-1/],
    [{ runtimeConfig: { bandwidth: { egressBurst: 9 } } }, /egressBurst.*needs "egressRate"/],
    [{ prevResult: { ips: [{ address: '10.0.0.1' }] } }, /"prevResult.ips\[0\].address".*"10.0.0.1"/],
    [{ 'cni.dev/valid-attachments': [{ containerID: 'a' }] }, /valid-attachments\[0\].ifname" is missing/],
  ];
  for (const [more, message] of cases) {
    const error = refused(() => parseConfiguration({ ...minimal, ...more }));
    assert.equal(error.code, 7, error.message);
    assert.match(error.message, message);
  }
});

test('a field that Tombolo would have to ignore is code 2', () => {
  const error = refused(() => parseConfiguration({ ...minimal, ipMasq: true }));
  assert.equal(error.code, 2);
  assert.match(error.message, /"ipMasq".*true/);
});

test('the device a runtime chose overrides the one in the configuration', () => {
  const { attachment } = parseConfiguration({
    ...minimal,
    attachment: 'nic',
    device: 'eth1',
    runtimeConfig: { deviceID: '0000:3B:00.2' },
  });
  assert.deepEqual(attachment, { attachment: 'nic', device: '0000:3b:00.2' });
});

test('requested addresses come from runtimeConfig, then args, then CNI_ARGS', () => {
  const args = new Map([
    ['IP', '10.0.0.3'],
    ['MAC', '02-00-00-00-00-03'],
  ]);
  const ips = (more: JsonObject) =>
    withArgs(parseConfiguration({ ...minimal, ...more }).capabilities, args).ips;
  const cni = { args: { cni: { ips: ['10.0.0.2'] } } };
  assert.deepEqual(ips({ ...cni, runtimeConfig: { ips: ['10.0.0.1/24', '2001:db8::1'] } }), [
    parseIP('10.0.0.1'),
    parseIP('2001:db8::1'),
  ]);
  assert.deepEqual(ips(cni), [parseIP('10.0.0.2')]);
  assert.deepEqual(ips({}), [parseIP('10.0.0.3')]);
  assert.equal(withArgs(parseConfiguration(minimal).capabilities, args).mac, '02:00:00:00:00:03');
});

test('valid attachments are read under both names, and null is an empty list', () => {
  const list = [{ containerID: 'a', ifname: 'eth0' }];
  for (const name of ['cni.dev/valid-attachments', 'cni.dev/attachments']) {
    const read = (value: unknown) => parseConfiguration({ ...minimal, [name]: value }).validAttachments;
    assert.deepEqual(read(list), [{ containerID: 'a', ifName: 'eth0' }]);
    assert.deepEqual(read(null), []);
  }
});

test('members nobody knows are reported, not refused', () => {
  assert.deepEqual(parseConfiguration({ ...minimal, atachment: 'nic' }).unknown, ['atachment']);
});

test('a version that is not spoken, or does not know the verb, is code 1 with the list', () => {
  for (const [stated, verb] of [
    [undefined, 'ADD'],
    ['9.9.9', 'ADD'],
    ['0.3.0', 'DEL'],
    ['0.3.1', 'CHECK'],
    ['1.0.0', 'GC'],
    ['1.0.0', 'STATUS'],
  ] as const) {
    const error = refused(() => negotiate(stated, verb));
    assert.equal(error.code, 1);
    assert.match(error.details, /0\.3\.1.*1\.1\.0/);
  }
  for (const verb of VERBS) assert.equal(negotiate('1.1.0', verb), '1.1.0');
  for (const version of VERSIONS) assert.equal(negotiate(version, 'ADD'), version);
});
