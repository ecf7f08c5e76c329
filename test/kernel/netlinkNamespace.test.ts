import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync, stat } from 'node:fs';
import { after, test } from 'node:test';
import {
  namespaceCookie,
  namespaceIdentity,
  sameNamespace,
  withNamespace,
} from '../../src/netlink/namespace.ts';
import { TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('netlinkns');
after(() => namespaces.close());

test('a window works inside and always leads back, also out of a failure', () => {
  const pod = namespaces.create('window');
  const home = namespaceIdentity();
  const inside = withNamespace(pod.path, () => namespaceIdentity());
  assert.ok(sameNamespace(inside, namespaceIdentity(pod.path)));
  assert.ok(!sameNamespace(inside, home));
  assert.throws(() => withNamespace(pod.path, () => JSON.parse('{')), SyntaxError);
  assert.ok(sameNamespace(home, namespaceIdentity()));
});

test('windows nest', () => {
  const [outer, inner] = [namespaces.create('outer'), namespaces.create('inner')];
  outer.inside(() => {
    inner.inside(() => assert.deepEqual(namespaceIdentity(), namespaceIdentity(inner.path)));
    assert.deepEqual(namespaceIdentity(), namespaceIdentity(outer.path));
  });
});

test('an asynchronous body is refused', () => {
  const pod = namespaces.create('async');
  assert.throws(() => withNamespace(pod.path, async () => 1), /body of a window must be synchronous/);
});

test('what is no namespace is refused by name', () => {
  assert.throws(() => withNamespace('/run/netns/netlinkns-absent', () => 1), {
    message: 'Cannot open network namespace /run/netns/netlinkns-absent: ENOENT',
    code: 'ENOENT',
  });
  assert.throws(() => withNamespace('/etc/hostname', () => 1), {
    message: 'Cannot enter network namespace /etc/hostname: EINVAL',
  });
});

test('no thread of the pool stays in a pod, though the first job is given inside a window', async () => {
  const pod = namespaces.create('pool');
  const home = readlinkSync('/proc/self/ns/net');
  await new Promise((resolve) => pod.inside(() => stat('/', resolve)));
  for (const task of readdirSync('/proc/self/task')) {
    assert.equal(readlinkSync(`/proc/self/task/${task}/ns/net`), home, `thread ${task}`);
  }
});

test('a cookie tells namespaces apart and stays', () => {
  const pod = namespaces.create('cookie');
  const first = pod.inside(() => namespaceCookie());
  assert.equal(typeof first, 'bigint');
  assert.equal(
    pod.inside(() => namespaceCookie()),
    first,
  );
  assert.notEqual(first, namespaceCookie());
});

test('sysctls written in a window are those of the pod', () => {
  const pod = namespaces.create('sysctl');
  const read = () => readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8');
  const before = read();
  pod.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
  assert.equal(pod.inside(read), '1\n');
  assert.equal(read(), before);
});
