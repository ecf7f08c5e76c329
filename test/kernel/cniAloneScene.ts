// What the tests of the plugin without an agent have in common: nodes with host-local for the addresses, and pods.
import { after, afterEach } from 'node:test';
import { type Pod, Runtime } from './cniRuntime.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

export const namespaces = new TestNamespaces('cniattach');
after(() => namespaces.close());

let count = 0;
export const opened: (() => void)[] = [];
afterEach(() => {
  for (const close of opened.splice(0).reverse()) close();
});

/** A node of its own for one test, with host-local handing out 10.9.0.0/24. */
export function setUp(program: string, ...subnets: string[]): Runtime {
  const node = namespaces.create(`node${++count}`);
  // Link-local addresses at once, instead of when nobody has been found to have the same.
  node.run('sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0');
  node.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'up1');
  node.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'up0');
  node.run('ip', 'address', 'add', '2001:db8::1/64', 'dev', 'up0', 'nodad');
  node.run('ip', 'link', 'set', 'up0', 'up');
  node.run('ip', 'link', 'set', 'up1', 'up');
  node.run('ip', 'route', 'add', 'default', 'via', '192.0.2.254');
  const runtime = new Runtime(program, node);
  const [first = '10.9.0.0/24', ...more] = subnets;
  runtime.config = { ...runtime.config, ipam: runtime.hostLocal(first, ...more) };
  runtime.settle();
  opened.push(() => {
    runtime.close();
    node.remove();
  });
  return runtime;
}

export interface TestPod extends Pod {
  readonly namespace: TestNamespace;
}

export function newPod(name = 'pod'): TestPod {
  const namespace = namespaces.create(`${name}${++count}`);
  opened.push(() => namespace.remove());
  return { id: `${name}-${count}`, netns: namespace.path, namespace };
}

// biome-ignore lint/suspicious/noExplicitAny: results are looked into as the runtime would.
export type Loose = any;

export const addressesOf = (namespace: TestNamespace, link = 'eth0'): string[] =>
  namespace
    .ip(`address show dev ${link}`)
    .flatMap((one) => one.addr_info)
    .filter((info: Loose) => info.scope === 'global')
    .map((info: Loose) => `${info.local}/${info.prefixlen}`);
