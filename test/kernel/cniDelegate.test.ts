// Delegated IPAM, with the reference host-local plugin and with plugins that misbehave.
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { delegate } from '../../cni/delegate.ts';
import { delegatedAddresses } from '../../cni/delegatedAddresses.ts';
import { CniError } from '../../cni/protocol/error.ts';
import { parseIP } from '../../src/address/ip.ts';
import { formatPrefix } from '../../src/address/prefix.ts';

const directory = mkdtempSync(join(tmpdir(), 'tombolo-delegate-'));
const dataDir = join(directory, 'ipam');
const variables = {
  CNI_PATH: '/usr/lib/cni',
  CNI_NETNS: '/run/netns/none',
  CNI_IFNAME: 'eth0',
  CNI_CONTAINERID: 'c',
};
after(() => rmSync(directory, { recursive: true }));
beforeEach(() => rmSync(dataDir, { recursive: true, force: true }));

const json = (cniVersion: string, subnet = '10.9.0.0/24') => ({
  cniVersion,
  name: 'pods',
  type: 'tombolo',
  ipam: { type: 'host-local', dataDir, ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] },
});
const source = (cniVersion = '1.1.0', subnet?: string) =>
  delegatedAddresses('host-local', json(cniVersion, subnet), { path: ['/none', '/usr/lib/cni'], variables });
const owner = (containerID: string) => ({ network: 'pods', containerID, ifName: 'eth0' });
const request = (containerID: string) => ({ owner: owner(containerID), pod: undefined, ips: [] });
const held = () =>
  existsSync(join(dataDir, 'pods'))
    ? readdirSync(join(dataDir, 'pods')).filter((name) => /^\d/.test(name) && !name.startsWith('last'))
    : [];

/** A plugin that is a shell script. */
function script(name: string, body: string): void {
  writeFileSync(join(directory, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(directory, name), 0o755);
}

const call = (type: string) => ({ type, path: [directory], variables, json: json('1.1.0') });
const refusal = async (promise: Promise<unknown>): Promise<CniError> => {
  const error = await promise.then(
    () => assert.fail('succeeded'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CniError, String(error));
  return error;
};

test('an address is given, confirmed and taken back, in every version of the configuration', async () => {
  for (const version of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
    const { ips, routes } = await source(version).allocate(request('a'));
    assert.deepEqual(ips.map(({ address }) => formatPrefix(address)).length, 1);
    assert.equal(ips[0]?.gateway, parseIP('10.9.0.1'));
    assert.equal(routes.length, 1);
    assert.equal(held().length, 1);
    if (version !== '0.3.1') {
      await source(version).check(
        owner('a'),
        ips.map(({ address }) => address.address),
      );
    }
    await source(version).release(owner('a'));
    await source(version).release(owner('a'));
    assert.deepEqual(held(), []);
  }
});

test('CHECK names the address that IPAM has forgotten', async () => {
  const { ips } = await source('1.0.0').allocate(request('a'));
  rmSync(dataDir, { recursive: true });
  const check = source('1.0.0').check(
    owner('a'),
    ips.map(({ address }) => address.address),
  );
  await assert.rejects(check, /Cannot confirm 10\.9\.0\.2: host-local CHECK/);
});

test('a pool without room is an error of the plugin, and nothing stays behind', async () => {
  for (const name of ['a', 'b', 'c', 'd', 'e']) await source('1.1.0', '10.9.0.0/29').allocate(request(name));
  const error = await refusal(source('1.1.0', '10.9.0.0/29').allocate(request('f')));
  assert.match(error.message, /^host-local ADD: .*no IP addresses available/);
  assert.equal(held().length, 5);
});

test('a plugin that fails ADD is run for DEL before the failure is reported', async () => {
  const log = join(directory, 'log');
  script(
    'half',
    `echo $CNI_COMMAND >>${log}\n[ $CNI_COMMAND = DEL ] || { echo '{"code":11,"msg":"later"}'; exit 1; }`,
  );
  const half = delegatedAddresses('half', json('1.1.0'), { path: [directory], variables });
  const error = await refusal(half.allocate(request('a')));
  assert.deepEqual([error.code, error.message], [11, 'half ADD: later']);
  assert.equal(readFileSync(log, 'utf8'), 'ADD\nDEL\n');
});

test('a result without an address is a failure', async () => {
  script('empty', `[ $CNI_COMMAND = DEL ] || echo '{"cniVersion":"1.1.0"}'`);
  const empty = delegatedAddresses('empty', json('1.1.0'), { path: [directory], variables });
  await assert.rejects(empty.allocate(request('a')), /empty ADD: it gave no address/);
});

test('a plugin that is not there is named with the path', async () => {
  const error = await refusal(delegate('ADD', call('nobody')));
  assert.equal(error.code, 7);
  assert.match(error.message, /"nobody" in CNI_PATH/);
  const nobody = delegatedAddresses('nobody', json('1.1.0'), { path: [directory], variables });
  assert.equal((await refusal(nobody.status('pods'))).code, 50);
});

test('a plugin that breaks, babbles or dies is quoted', async () => {
  script('breaks', 'cat >/dev/null; echo oops >&2; exit 3');
  const broken = await refusal(delegate('ADD', call('breaks')));
  assert.match(broken.message, /breaks ADD ended with code 3/);
  assert.match(broken.details, /oops/);
  script('babbles', 'echo hello');
  assert.equal((await refusal(delegate('ADD', call('babbles')))).code, 6);
  script('dies', 'kill -9 $$');
  assert.match((await refusal(delegate('ADD', call('dies')))).message, /ended by SIGKILL/);
  writeFileSync(join(directory, 'text'), '#!/no/such/interpreter\n');
  chmodSync(join(directory, 'text'), 0o755);
  assert.equal((await refusal(delegate('ADD', call('text')))).code, 5);
});

test('GC and STATUS reach a plugin that knows them and spare one that does not', async () => {
  const log = join(directory, 'verbs');
  const version = (list: string) => `{"cniVersion":"1.1.0","supportedVersions":[${list}]}`;
  const body = (list: string) =>
    `echo $CNI_COMMAND >>${log}\n[ $CNI_COMMAND = VERSION ] && echo '${version(list)}' || cat >/dev/null`;
  script('new', body('"1.0.0","1.1.0"'));
  script('old', body('"1.0.0"'));
  for (const type of ['new', 'old']) {
    const addresses = delegatedAddresses(type, json('1.1.0'), { path: [directory], variables });
    await addresses.collect('pods', () => false);
    await addresses.status('pods');
  }
  assert.deepEqual(
    readFileSync(log, 'utf8')
      .split('\n')
      .filter((verb) => verb && verb !== 'VERSION'),
    ['GC', 'STATUS'],
  );
});
