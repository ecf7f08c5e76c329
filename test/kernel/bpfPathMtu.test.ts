import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { configure, ip, type Pod, PodNetwork } from './bpfNetwork.ts';
import { Datapath } from './bpfRig.ts';
import { at } from './bpfTestPod.ts';

/** The least that IPv6 allows. */
const NARROW = 1280;

let network: PodNetwork;
let datapath: Datapath;
let client: Pod;
let server: Pod;

/** client – router – narrow link – far router – server. */
before(async () => {
  network = new PodNetwork('bpfmtu');
  datapath = new Datapath();
  const far = network.namespace('far');
  configure(far, ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  client = network.vethPod('client', 2);
  server = network.vethPod('server', 3, far);
  ip(
    network.router,
    `link add narrow mtu ${NARROW} type veth peer name narrow mtu ${NARROW} netns ${far.name}`,
  );
  for (const [router, own, other, pod] of [
    [network.router, 1, 2, server],
    [far, 2, 1, client],
  ] as const) {
    ip(router, `address add 10.9.0.${own}/30 dev narrow`, `address add fd00:9::${own}/64 dev narrow nodad`);
    ip(router, 'link set narrow up');
    ip(
      router,
      `route add ${pod.ipv4}/32 via 10.9.0.${other}`,
      `route add ${pod.ipv6}/128 via fd00:9::${other}`,
    );
  }
  for (const pod of [client, server]) network.attachPackets(datapath, pod);
  await server.process.call('listenTcp', 8080);
  await server.process.call('listenUdp', 5353);
  // The error is about a packet whose backend has no other mark of the service.
  for (const [service, backend] of [
    ['10.96.0.1', server.ipv4],
    ['fd00:96::1', server.ipv6],
  ] as const) {
    datapath.addService({ frontend: at(service, 80), backends: [at(backend, 8080)] });
    datapath.addService({ frontend: at(service, 53), protocol: 'UDP', backends: [at(backend, 5353)] });
  }
});

after(async () => {
  datapath?.close();
  await network?.close();
});

for (const [family, service] of [
  [4, '10.96.0.1'],
  [6, 'fd00:96::1'],
] as const) {
  describe(`a path narrower than the pod's link, over IPv${family}`, () => {
    test('is discovered through the service, and the client learns it for the service', async () => {
      const connection = await client.process.connect(service, 80);
      const narrowed = datapath.metrics().icmp_translated ?? 0;
      assert.equal(await client.process.call('echo', connection.id, 100_000), true);
      assert.ok((datapath.metrics().icmp_translated ?? 0) > narrowed, 'no error was translated');
      const route = client.namespace.run('ip', `-${family}`, 'route', 'get', service);
      assert.match(route, new RegExp(`mtu ${NARROW}`));
      await client.process.call('close', connection.id);
    });

    test('is known to the next connection from its first packet', async () => {
      const before = datapath.metrics().icmp_translated;
      const connection = await client.process.connect(service, 80);
      assert.equal(await client.process.call('echo', connection.id, 100_000), true);
      assert.equal(datapath.metrics().icmp_translated, before);
      await client.process.call('close', connection.id);
    });

    test('has UDP fragmented to fit once it is known', async () => {
      ip(client.namespace, `-${family} route flush cache`);
      const socket = await client.process.call('openUdp', service, 53, {});
      // The first one is lost to the discovery.
      await client.process.call('ask', socket, service, 53, 1400, false);
      await setTimeout(20);
      const answer = await client.process.call('ask', socket, service, 53, 1400, false);
      assert.ok(!('error' in answer), JSON.stringify(answer));
      assert.deepEqual([answer.size, answer.whole, answer.peerAddress], [1400, true, service]);
      await client.process.call('close', socket);
    });
  });
}
