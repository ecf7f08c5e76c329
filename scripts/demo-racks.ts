/**
 * Two racks on this machine: two leaves and a spine, four nodes with agents, an operator, a store. Shows what they do, a line for
 * each claim, and then holds everything up until it is told to end; all of it goes with this process.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SpeakerStatus } from '../src/bgp/speaker/status.ts';
import { Frr } from '../test/interop/frr.ts';
import { eventually } from '../test/interop/waiting.ts';
import { Capture } from '../test/racks/capture.ts';
import { type Connection, Connections } from '../test/racks/connections.ts';
import { nextHopsOf, portOf } from '../test/racks/fabric.ts';
import { CLUSTER_IP, leafAddress, OUTSIDE, RACKS, SERVICE_PORT, SPINE_ASN } from '../test/racks/plan.ts';
import { echo, Stream } from '../test/racks/stream.ts';
import { ask, serve, tally } from '../test/racks/web.ts';
import { NODES, type NodeName, type Pod, World } from '../test/racks/world.ts';

const VIP = '10.222.0.7';
const make = existsSync('/usr/lib/frr/bgpd') ? 'frr' : 'tombolo';
/** Questions from outside, each from a port of its own. */
const MANY = 60;
/** Segments of eight addresses, so that one is soon full; one node that the network does not carry. */
const WISHES = {
  make,
  pools: () => ({ blockSize: 29, expansion: { low: 1, high: 9, min: 0, max: 256, step: 1 } }),
  config: (name: NodeName) => (name === 'b2' ? { routing: 'overlay' } : {}),
} as const;

let failures = 0;

async function shows(claim: string, proof: () => unknown | Promise<unknown>): Promise<void> {
  try {
    const answer = await proof();
    if (answer === false) throw new Error('it is not so');
    console.log(`  pass  ${claim}`);
  } catch (error) {
    failures++;
    console.log(`  FAIL  ${claim}: ${error instanceof Error ? error.message : error}`);
  }
}

const note = (text: string) => console.log(`\n\x1b[1m${text}\x1b[0m`);

/** What a command prints, as people see it. */
function print(title: string, text: string): void {
  console.log(`  ${title}`);
  for (const line of text.trimEnd().split('\n')) console.log(`    ${line}`);
}

/** Whether nothing is lost from one pod to the other while something happens. */
async function lossless(from: Pod, to: Pod, meanwhile: () => Promise<void>): Promise<boolean> {
  const stream = await Stream.start(from.namespace, to.address);
  await meanwhile();
  const { sent, lost } = await stream.stop();
  if (lost.length > 0) throw new Error(`${lost.length} of ${sent} datagrams were lost`);
  return sent > 0;
}

/** A pod that says who it is, and sends datagrams back. */
async function start(world: World, on: NodeName, name: string): Promise<Pod> {
  const pod = await world.pod(on, name);
  await serve(pod.namespace, on);
  await echo(pod.namespace);
  return pod;
}

async function show(world: World): Promise<Record<NodeName, Pod>> {
  const { leaves, spine, outside } = world.fabric;
  const { a1, a2, b1 } = world.nodes;
  note(`Two racks, switches by ${make === 'frr' ? 'FRR' : 'Tombolo itself'}`);
  await shows(
    'every node has found its leaf by its default route, and the leaves know nodes as a range only',
    () => Promise.all(NODES.map((name) => world.established(name))),
  );
  await shows('every underlay node has announced its segment to all others', () =>
    Promise.all((['a1', 'a2', 'b1'] as const).map((name) => world.announced(name, ['a1', 'a2', 'b1']))),
  );
  const { stdout } = await a1.rig.cli(['bgp', 'neighbors']);
  print('tombolo bgp neighbors, on a1', stdout);
  if (leaves[0].speaker instanceof Frr)
    print('show bgp summary, on leaf-a', leaves[0].speaker.vtysh('show bgp ipv4 unicast summary'));

  const pods = {} as Record<NodeName, Pod>;
  for (const name of NODES) pods[name] = await start(world, name, 'web');

  note('Underlay');
  const [near = '', far = ''] = [(await world.segments('a2'))[0], (await world.segments('b1'))[0]];
  await shows(
    `in the rack, the next hop is the neighbour itself (${near} via ${a2.address})`,
    () => nextHopsOf(a1.namespace, near, '111').join() === a2.address,
  );
  await shows(
    `to the other rack, it is the leaf (${far} via ${leafAddress(RACKS[0])})`,
    () => nextHopsOf(a1.namespace, far, '111').join() === leafAddress(RACKS[0]),
  );
  print('ip route, on a1', a1.namespace.run('ip', 'route'));
  print('ip route, on leaf-a', leaves[0].router.namespace.run('ip', 'route'));
  await shows(
    'pods reach pods, in the rack and across',
    () => pods.a1.namespace.pings(pods.a2.address) && pods.a1.namespace.pings(pods.b1.address),
  );
  await shows('what stays in the rack is switched by the leaf, not routed', async () => {
    const routed = await Capture.start(leaves[0].router.namespace, 'lan', 'icmp');
    pods.a1.namespace.pings(pods.a2.address);
    return (await routed.stop()).length === 0;
  });
  await shows('the outside reaches a pod by its own address', () => outside.pings(pods.b1.address));

  note('Overlay: b2 is a node whose segments no switch knows');
  await shows('pods reach it and are reached from it, without NAT', () =>
    eventually(
      'both ways',
      () => pods.b2.namespace.pings(pods.a1.address) && pods.b1.namespace.pings(pods.b2.address),
    ),
  );
  await shows('on the spine there is VXLAN between the nodes, and nothing else', async () => {
    const capture = await Capture.start(
      spine.router.namespace,
      'any',
      'udp port 8472 or udp port 4789 or icmp',
    );
    pods.b2.namespace.pings(pods.a1.address);
    const seen = (await capture.stop()).filter((line) => / (In|Out) /.test(line));
    return seen.length > 0 && seen.every((line) => /> 10\.220\.[12]\.\d+\.(8472|4789)/.test(line));
  });

  note(`Service web (${CLUSTER_IP}, outside ${VIP}) with a pod in each rack`);
  world.service('web', VIP, [pods.a2, pods.b1], { externalTrafficPolicy: 'Local' });
  await shows('a pod is answered by both', () =>
    eventually('both', () => {
      const answers = ask(pods.a1.namespace, 'tcp', CLUSTER_IP, SERVICE_PORT, 16);
      return Object.keys(tally(answers)).length === 2;
    }),
  );
  await shows(`the spine shares flows for ${VIP} between both racks`, () =>
    eventually('two next hops', () => nextHopsOf(spine.router.namespace, VIP).length === 2),
  );
  await shows('a second backend in the rack makes the leaf share them, too', async () => {
    world.service('web', VIP, [pods.a1, pods.a2, pods.b1], { externalTrafficPolicy: 'Local' });
    return eventually('two next hops', () => nextHopsOf(leaves[0].router.namespace, VIP).length === 2);
  });
  for (const [name, { namespace }] of [
    ['spine', spine.router],
    ['leaf-a', leaves[0].router],
  ] as const)
    print(`ip route show ${VIP}, on ${name}`, namespace.run('ip', 'route', 'show', VIP));

  for (const protocol of ['tcp', 'udp'] as const) {
    let said = '';
    await shows(
      `the outside asks ${VIP} ${MANY} times by ${protocol}: all are answered, and see the client`,
      () => {
        const answers = ask(outside, protocol, VIP, SERVICE_PORT, MANY);
        said = JSON.stringify(tally(answers));
        return (
          Object.keys(tally(answers)).length === 3 && answers.every(({ peer }) => peer === OUTSIDE.client)
        );
      },
    );
    console.log(`        ${said}`);
  }

  note('Under load');
  await shows('a1 fills up and gets another segment: nothing is lost', () =>
    lossless(pods.a1, pods.b1, async () => {
      const had = (await world.segments('a1')).length;
      let last = pods.a1;
      for (let number = 0; number < 8; number++) last = await world.pod('a1', `more${number}`);
      await eventually('another segment', async () => (await world.segments('a1')).length > had);
      await world.announced('a1', ['a1', 'a2', 'b1']);
      if (!pods.b1.namespace.pings(last.address)) throw new Error(`${last.address} does not answer`);
    }),
  );
  await shows('the agent of b1 is killed and comes back: nothing is lost', () =>
    lossless(pods.a1, pods.b1, async () => {
      await b1.rig.end('SIGKILL');
      await sleep(1000);
      await b1.rig.start();
      await world.established('b1');
    }),
  );
  const { speaker, router } = leaves[0];
  if (speaker instanceof Frr) {
    await shows('BGP on leaf-a is killed and comes back: nothing is lost in the rack', () =>
      lossless(pods.a1, pods.a2, async () => {
        await speaker.daemon.kill();
        await sleep(1000);
        speaker.restart();
        await world.established('a1');
      }),
    );
  }
  // A leaf that has restarted takes out of its kernel what it is about to learn again (docs/leaf.md): until then nobody is to connect.
  await shows('the outside is led to all three nodes', () =>
    eventually('all three', () => {
      const answers = ask(outside, 'tcp', VIP, SERVICE_PORT, MANY);
      return Object.keys(tally(answers)).length === 3;
    }),
  );
  const running = new Connections(outside, VIP, SERVICE_PORT, MANY);
  await shows('the outside has connections to all nodes with a backend', () =>
    eventually('all', async () => {
      const all = await running.look();
      return all.every(({ answers }) => answers > 0) && new Set(all.map(({ by }) => by)).size === 3;
    }),
  );
  let ended: readonly Connection[] = [];
  await shows('a2 is gone, cable and all, and comes back: the others lose nothing', () =>
    lossless(pods.a1, pods.b1, async () => {
      router.namespace.run('ip', 'link', 'set', portOf(2), 'down');
      await a2.rig.end('SIGKILL');
      const without = () => nextHopsOf(router.namespace, VIP).join() === a1.address;
      await eventually(`leaf-a leads to ${VIP} without a2`, without);
      const left = tally(ask(outside, 'tcp', VIP, SERVICE_PORT, MANY));
      if ('a2' in left || Object.keys(left).length !== 2) throw new Error(JSON.stringify(left));
      ended = await running.stop();
      router.namespace.run('ip', 'link', 'set', portOf(2), 'up');
      await a2.rig.start();
      await world.established('a2');
      await eventually('its pod answers', () => pods.b1.namespace.pings(pods.a2.address));
      const back = () => nextHopsOf(router.namespace, VIP).length === 2;
      await eventually('it has its share again', back);
    }),
  );
  const others = ended.filter(({ by }) => by !== 'a2');
  await shows(`of ${others.length} connections from outside to the others none has ended`, () => {
    const ends = others.flatMap(({ end }) => (end === '' ? [] : [end]));
    if (ends.length > 0) throw new Error(ends.join(', '));
    return others.length > 0;
  });
  return pods;
}

async function topology(world: World, pods: Record<NodeName, Pod>): Promise<void> {
  note('Topology');
  const lines = [`outside ${OUTSIDE.client}`, '   |', `spine   AS ${SPINE_ASN}   ${OUTSIDE.spine}`];
  for (const { rack } of world.fabric.leaves) {
    lines.push(
      '   |',
      `   +-- leaf-${rack.name}   AS ${rack.asn}   ${leafAddress(rack)}   uplink ${rack.uplink.leaf}`,
    );
    for (const name of NODES.filter((one) => world.nodes[one].leaf.rack === rack)) {
      const { rig, address } = world.nodes[name];
      const { neighbours }: SpeakerStatus = await rig.json('/v1/bgp/neighbors');
      const state = neighbours.map((one) => `${one.name} ${one.state}`).join(', ');
      const routing = name === 'b2' ? 'overlay' : 'underlay';
      lines.push(`   |     +-- ${name}   AS ${rack.asn}   ${address}   ${routing}   BGP: ${state}`);
      lines.push(
        `   |     |     segments ${(await world.segments(name)).join(', ')}   pod ${pods[name].address}`,
      );
    }
  }
  console.log(lines.map((line) => `  ${line}`).join('\n'));
}

function lookAround(world: World): void {
  const { a1 } = world.nodes;
  const leaf = world.fabric.leaves[0].router;
  const into = (path: string) => `nsenter --net=${path}`;
  note('Look at the racks');
  const commands = [
    `${into(a1.namespace.path)} ip route show proto 111`,
    `dist/tombolo bgp neighbors --socket ${a1.rig.socket}`,
    `dist/tombolo bgp rib --socket ${a1.rig.socket}`,
    `dist/tombolo get nodenetwork --store directory:${world.store}`,
    ...(make === 'frr'
      ? [`vtysh --vty_socket ${leaf.directory} -c 'show bgp summary' -c 'show bgp ipv4 unicast'`]
      : []),
    `${into(leaf.namespace.path)} ip route`,
    `${into(world.fabric.spine.router.namespace.path)} tcpdump -ni any`,
    'make demo-down',
  ];
  for (const command of commands) console.log(`  ${command}`);
}

const world = new World('tbracks', WISHES);
try {
  await world.begin();
  const pods = await show(world);
  lookAround(world);
  await topology(world, pods);
} catch (error) {
  failures++;
  console.log(`  FAIL  stopped half-way: ${error instanceof Error ? error.message : error}`);
}
console.log(
  `\nracks: ${failures === 0 ? 'everything above was seen to work' : `${failures} of the above failed`}`,
);
// Whoever waits for the end of the show, waits for this line.
console.log(`end ${failures}`);
setInterval(() => {}, 1 << 30);
