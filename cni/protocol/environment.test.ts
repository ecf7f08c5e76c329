import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEnvironment, type Variables } from './environment.ts';
import type { CniError } from './error.ts';
import { VERBS } from './version.ts';

const complete: Variables = {
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/c1',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin:/usr/lib/cni',
};

const refused = (variables: Variables): CniError => {
  try {
    parseEnvironment(variables);
  } catch (error) {
    return error as CniError;
  }
  return assert.fail(`accepted ${JSON.stringify(variables)}`);
};

test('each verb accepts exactly the variables it requires', () => {
  const required: Record<string, string[]> = {
    ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
    CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
    DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
    GC: ['CNI_PATH'],
    STATUS: ['CNI_PATH'],
    VERSION: [],
  };
  for (const verb of VERBS) {
    const names = required[verb] ?? [];
    const variables = Object.fromEntries(names.map((name) => [name, complete[name]]));
    assert.equal(parseEnvironment({ ...variables, CNI_COMMAND: verb }).verb, verb);
    for (const name of names) {
      const error = refused({ ...variables, CNI_COMMAND: verb, [name]: '' });
      assert.equal(error.code, 4);
      assert.match(error.message, new RegExp(name));
    }
  }
});

test('every missing variable is named in one message', () => {
  const error = refused({ CNI_COMMAND: 'ADD' });
  assert.equal(error.code, 4);
  assert.equal(error.message, 'Cannot ADD: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH not set');
});

test('an unknown verb and no verb are refused', () => {
  assert.match(refused({ ...complete, CNI_COMMAND: 'add' }).message, /"add".*ADD, DEL/);
  assert.match(refused(complete).message, /CNI_COMMAND not set/);
});

test('container IDs and interface names that cannot be real are refused with their value', () => {
  const of = (name: string, value: string) => refused({ ...complete, CNI_COMMAND: 'DEL', [name]: value });
  for (const id of ['-a', '.a', '_a', 'a b', 'a/b', 'a;b', 'é', '../../etc']) {
    const error = of('CNI_CONTAINERID', id);
    assert.equal(error.code, 4, id);
    assert.ok(error.message.includes(JSON.stringify(id)), error.message);
  }
  for (const ifName of ['.', '..', 'a/b', 'a:b', 'a b', 'a\tb', '0123456789abcdef', 'ééééééé€']) {
    const error = of('CNI_IFNAME', ifName);
    assert.equal(error.code, 4, ifName);
    assert.match(error.message, /CNI_IFNAME/);
  }
  const longest = {
    ...complete,
    CNI_COMMAND: 'DEL',
    CNI_IFNAME: '0123456789abcde',
    CNI_CONTAINERID: '0_.-A',
  };
  assert.equal(parseEnvironment(longest).verb, 'DEL');
});

test('ADD needs an absolute path to the namespace, DEL takes an unusable one for none', () => {
  assert.equal(refused({ ...complete, CNI_COMMAND: 'ADD', CNI_NETNS: 'run/netns/c1' }).code, 4);
  const del = parseEnvironment({ ...complete, CNI_COMMAND: 'DEL', CNI_NETNS: 'run/netns/c1' });
  assert.ok(del.verb === 'DEL' && del.netns === undefined);
});

test('CNI_ARGS are pairs, whatever their keys; a broken one is named', () => {
  const add = parseEnvironment({
    ...complete,
    CNI_COMMAND: 'ADD',
    CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web-0;EMPTY=;',
  });
  assert.ok(add.verb === 'ADD');
  assert.deepEqual(
    [...add.args],
    [
      ['IgnoreUnknown', '1'],
      ['K8S_POD_NAME', 'web-0'],
      ['EMPTY', ''],
    ],
  );
  assert.match(refused({ ...complete, CNI_COMMAND: 'ADD', CNI_ARGS: 'A=1;oops' }).message, /"oops"/);
  assert.equal(parseEnvironment({ ...complete, CNI_COMMAND: 'DEL', CNI_ARGS: 'oops' }).verb, 'DEL');
});
