import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { parseIP } from '../../src/address/ip.ts';
import { parsePrefix } from '../../src/address/prefix.ts';
import type { Admission } from '../../src/bgp/fib/admission.ts';
import { Fib } from '../../src/bgp/fib/fib.ts';
import { silentLog } from '../../src/log.ts';
import { type Monitor, monitor } from '../../src/netlink/monitor.ts';
import { type Netlink, openNetlink } from '../../src/netlink/socket.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('fib');
after(() => namespaces.close());

const clock = {
  after: (milliseconds: number, task: () => void) => {
    const timer = setTimeout(task, milliseconds);
    return () => clearTimeout(timer);
  },
};

const ADMISSION: Admission = {
  ranges: [parsePrefix('10.244.0.0/16'), parsePrefix('fd44::/48')],
  defaultRoute: false,
  ownSegments: [],
  guarded: [parseIP('10.20.0.1')],
};

/** A node on the network 10.20.0.0/24 with the leaf at .1 and other nodes at .11 and .12, all of them namespaces. */
class Rack {
  readonly node: TestNamespace;
  readonly nl: Netlink;
  readonly routers: readonly TestNamespace[];
  fib: Fib;
  readonly #monitor: Monitor;

  constructor(name: string, admission = ADMISSION) {
    this.node = namespaces.create(`${name}n`);
    const bridge = namespaces.create(`${name}b`);
    bridge.run('ip', 'link', 'add', 'br0', 'type', 'bridge');
    bridge.run('ip', 'link', 'set', 'br0', 'up');
    const attach = (router: TestNamespace, host: number) => {
      bridge.run(
        'ip',
        'link',
        'add',
        `p${host}`,
        'type',
        'veth',
        'peer',
        'name',
        'up0',
        'netns',
        router.name,
      );
      bridge.run('ip', 'link', 'set', `p${host}`, 'master', 'br0', 'up');
      router.run('ip', 'address', 'add', `10.20.0.${host}/24`, 'dev', 'up0');
      router.run('ip', 'address', 'add', `fd20::${host}/64`, 'dev', 'up0', 'nodad');
      router.run('ip', 'link', 'set', 'up0', 'up');
    };
    attach(this.node, 10);
    this.routers = [1, 11, 12].map((host) => {
      const router = namespaces.create(`${name}r${host}`);
      attach(router, host);
      router.run('ip', 'address', 'add', '10.244.7.1/32', 'dev', 'lo');
      return router;
    });
    this.node.run('ip', 'route', 'add', 'default', 'via', '10.20.0.1');
    this.nl = this.node.inside(openNetlink);
    this.fib = new Fib(this.nl, clock, silentLog, admission);
    this.#monitor = this.node.inside(() =>
      monitor(['link', 'address', 'route'], (event) => this.fib.observe(event)),
    );
  }

  choose(prefix: string, nextHops: readonly string[], priority = 1024): void {
    this.fib.choose(parsePrefix(prefix), {
      nextHops: nextHops.map((hop) => ({ address: parseIP(hop) })),
      priority,
    });
  }

  /** `ip route show proto 111` as `prefix via gateways`. */
  routes(family = '-4'): string[] {
    return this.node.ip(`${family} route show proto 111`).map((route) => {
      const hops = route.nexthops ?? [route];
      const gateways = hops.map(
        (hop: { gateway?: string; via?: { host: string } }) => hop.gateway ?? hop.via?.host,
      );
      return route.type === 'blackhole'
        ? `${route.dst} blackhole`
        : `${route.dst} via ${gateways.sort().join(' ')}`;
    });
  }

  async settled(what: () => void): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      try {
        what();
        return;
      } catch (error) {
        if (attempt > 60) throw error;
      }
    }
  }

  /** Another process takes over: what this one knew is lost, what the kernel has is not. */
  restart(): void {
    this.fib.close();
    this.fib = new Fib(this.nl, clock, silentLog, ADMISSION);
  }

  close(): void {
    this.fib.close();
    this.#monitor.close();
    this.nl.close();
  }
}

test('one next hop, several, an IPv6 one and the own segment become routes of protocol 111', () => {
  const rack = new Rack('kinds');
  rack.fib.setSegments([parsePrefix('10.244.1.0/26')]);
  rack.choose('10.244.2.0/26', ['10.20.0.11']);
  rack.choose('10.244.7.1/32', ['10.20.0.12', '10.20.0.11']);
  rack.choose('10.244.3.0/26', ['fd20::11']);
  rack.choose('fd44:0:0:2::/64', ['fd20::11', 'fd20::12']);
  rack.fib.flush();
  assert.deepEqual(rack.routes(), [
    '10.244.1.0/26 blackhole',
    '10.244.2.0/26 via 10.20.0.11',
    '10.244.3.0/26 via fd20::11',
    '10.244.7.1 via 10.20.0.11 10.20.0.12',
  ]);
  assert.deepEqual(rack.routes('-6'), ['fd44:0:0:2::/64 via fd20::11 fd20::12']);
  assert.ok(rack.node.pings('10.244.7.1'));
  rack.close();
});

test('a next hop under the same leaf is the gateway itself, one elsewhere is reached through the leaf', () => {
  const rack = new Rack('leaf');
  rack.choose('10.244.2.0/26', ['10.20.0.11']);
  rack.choose('10.244.3.0/26', ['10.99.0.5']);
  rack.fib.flush();
  assert.deepEqual(rack.routes(), ['10.244.2.0/26 via 10.20.0.11', '10.244.3.0/26 via 10.20.0.1']);
  rack.close();
});

test('what must not enter does not, and says why', () => {
  const wide = {
    ...ADMISSION,
    ranges: [parsePrefix('10.0.0.0/8')],
    ownSegments: [parsePrefix('10.244.1.0/26')],
  };
  const rack = new Rack('refuse', wide);
  rack.choose('8.8.8.0/24', ['10.20.0.11']);
  rack.choose('0.0.0.0/0', ['10.20.0.11']);
  rack.choose('10.244.1.7/32', ['10.20.0.11']);
  rack.choose('10.20.0.1/32', ['10.20.0.11']);
  rack.choose('10.20.0.0/24', ['10.20.0.11']);
  rack.choose('10.20.0.8/29', ['10.20.0.11']);
  rack.choose('10.0.0.0/8', ['10.20.0.11']);
  rack.fib.flush();
  assert.deepEqual(rack.routes(), ['10.0.0.0/8 via 10.20.0.11']);
  const details = rack.fib.entries().map(({ state, detail }) => `${state}: ${detail}`);
  assert.deepEqual(details, [
    'refused: outside all ranges to import',
    'refused: outside all ranges to import',
    "refused: inside this node's own segment 10.244.1.0/26",
    'refused: it would capture the way to 10.20.0.1',
    'refused: it would capture the way to 10.20.0.1',
    'refused: it would capture the way to 10.20.0.11',
    'installed: 10.20.0.11%2',
  ]);
  rack.close();
});

test('a restarted speaker adopts its routes, keeps forwarding, and removes unclaimed ones after convergence', () => {
  const rack = new Rack('adopt');
  rack.choose('10.244.7.1/32', ['10.20.0.11', '10.20.0.12']);
  rack.choose('10.244.9.0/26', ['10.20.0.12']);
  rack.fib.flush();
  rack.node.run('ip', 'route', 'add', '10.50.0.0/24', 'via', '10.20.0.12');
  rack.node.run('ip', 'route', 'add', '10.51.0.0/24', 'via', '10.20.0.12', 'proto', '186');
  rack.node.run('ip', 'route', 'add', '10.244.0.5/32', 'dev', 'lo', 'proto', '111');
  const hops = rack.node.run('ip', 'nexthop', 'show');
  rack.restart();
  assert.deepEqual([...rack.fib.preserved], [4]);
  rack.choose('10.244.7.1/32', ['10.20.0.12', '10.20.0.11']);
  rack.fib.flush();
  assert.equal(rack.node.run('ip', 'nexthop', 'show'), hops, 'the same objects serve on');
  assert.equal(rack.routes().length, 3);
  rack.fib.converged();
  rack.fib.flush();
  assert.deepEqual(rack.routes(), ['10.244.0.5 via ', '10.244.7.1 via 10.20.0.11 10.20.0.12']);
  assert.equal(rack.node.ip('route show 10.50.0.0/24').length, 1);
  assert.equal(rack.node.ip('route show 10.51.0.0/24').length, 1);
  rack.fib.clear();
  assert.deepEqual(rack.routes(), ['10.244.0.5 via ']);
  assert.equal(rack.node.run('ip', 'nexthop', 'show'), '');
  rack.close();
});

test('routes come back after their link was down', async () => {
  const rack = new Rack('flap');
  rack.choose('10.244.7.1/32', ['10.20.0.11', '10.20.0.12']);
  rack.choose('10.244.2.0/26', ['10.20.0.11']);
  rack.fib.flush();
  const before = rack.routes();
  rack.node.run('ip', 'link', 'set', 'up0', 'down');
  await rack.settled(() => assert.deepEqual(rack.routes(), []));
  rack.node.run('ip', 'link', 'set', 'up0', 'up');
  await rack.settled(() => assert.deepEqual(rack.routes(), before));
  assert.ok(rack.node.pings('10.244.7.1'));
  rack.close();
});

test('a route that somebody deletes is put back, and one that somebody else owns is left alone', async () => {
  const rack = new Rack('stolen');
  rack.choose('10.244.2.0/26', ['10.20.0.11']);
  rack.fib.flush();
  rack.node.run('ip', 'route', 'add', '10.244.2.0/26', 'via', '10.20.0.12', 'metric', '10');
  rack.node.run('ip', 'route', 'del', '10.244.2.0/26', 'proto', '111');
  await rack.settled(() => assert.deepEqual(rack.routes(), ['10.244.2.0/26 via 10.20.0.11']));
  rack.fib.choose(parsePrefix('10.244.2.0/26'), undefined);
  rack.fib.flush();
  assert.deepEqual(rack.routes(), []);
  assert.equal(rack.node.ip('route show 10.244.2.0/26').length, 1);
  rack.close();
});

test('next hops follow when the way to them changes', async () => {
  const rack = new Rack('moved');
  rack.choose('10.244.3.0/26', ['10.99.0.5']);
  rack.fib.flush();
  rack.node.run('ip', 'route', 'add', '10.99.0.0/16', 'via', '10.20.0.12');
  await rack.settled(() => assert.deepEqual(rack.routes(), ['10.244.3.0/26 via 10.20.0.12']));
  rack.node.run('ip', 'route', 'del', '10.99.0.0/16');
  await rack.settled(() => assert.deepEqual(rack.routes(), ['10.244.3.0/26 via 10.20.0.1']));
  rack.close();
});

test('changing next hops, groups and priorities loses no packet', async () => {
  const rack = new Rack('atomic');
  rack.choose('10.244.7.1/32', ['10.20.0.11']);
  rack.fib.flush();
  assert.ok(rack.node.pings('10.20.0.12') && rack.node.pings('10.244.7.1'));
  const ping = rack.node.start('ping', ['-n', '-q', '-i', '0.002', '-c', '400', '-W', '1', '10.244.7.1'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  ping.stdout?.on('data', (text) => {
    output += text;
  });
  const ended = new Promise((resolve) => ping.once('close', resolve));
  const sets = [['10.20.0.11', '10.20.0.12'], ['10.20.0.12'], ['10.20.0.1', '10.20.0.12'], ['10.20.0.11']];
  for (let round = 0; round < 60; round++) {
    rack.choose('10.244.7.1/32', sets[round % sets.length] ?? [], 1024 + (round % 3));
    rack.fib.flush();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await ended;
  assert.match(output, /400 packets transmitted, 400 received, 0% packet loss/);
  rack.close();
});
