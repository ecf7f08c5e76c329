import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type IPv4, type IPv6, parseIP } from '../../src/address/ip.ts';
import {
  FLOW_FLAGS,
  NAT_FLAGS,
  type Nat,
  type NatKey,
  NODE_FLAGS,
  TUNNEL_FLAGS,
} from '../../src/datapath/layout.ts';
import type { Reason } from '../../src/datapath/reasons.ts';
import { skBuff, testRun } from '../../src/ebpf/program.ts';
import { Datapath, endpointOf, type ProgramName } from './bpfRig.ts';
import { at, VERDICTS } from './bpfTestPod.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import {
  type FrameFields,
  fragmentsOf,
  frame,
  icmp,
  packet,
  type Transport,
  tcp,
  udp,
  describe as words,
} from './packets.ts';

const UPLINK_MAC = '02:00:00:00:00:03';
const LEAF_MAC = '02:00:00:00:00:09';
const POD_MAC = '02:00:00:00:00:02';
const HOST_MAC = '02:00:00:00:00:01';

const CASTS = [
  {
    family: 4,
    node: '192.0.2.2',
    pod: '10.1.0.2',
    far: '10.2.0.7',
    client: '198.51.100.7',
    router: '198.51.100.1',
    vip: '203.0.113.10',
    range: '203.0.113.77',
  },
  {
    family: 6,
    node: '2001:db8::2',
    pod: 'fd01::2',
    far: 'fd02::7',
    client: '2001:db8:100::7',
    router: '2001:db8:100::1',
    vip: '2001:db8:203::10',
    range: '2001:db8:203::77',
  },
] as const;

/** One port, so that it is known which it is. */
const PORT = 20_000;

const namespaces = new TestNamespaces('tboutnat');
/** Room for two flows. */
const SMALL = { tb_nat: 4 } as const;
let datapath: Datapath;
let node: TestNamespace;
let index: { tbo: number; up0: number };

function macOf(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

before(() => {
  node = namespaces.create('node');
  const far = namespaces.create('far');
  node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  for (const [name, mac] of [
    ['tbo', HOST_MAC],
    ['up0', UPLINK_MAC],
  ] as const) {
    node.run(
      'ip',
      ...`link add ${name} address ${mac} type veth peer name ${name}p netns ${far.name}`.split(' '),
    );
    node.run('ip', ...`link set ${name} up`.split(' '));
    far.run('ip', ...`link set ${name}p up`.split(' '));
  }
  for (const line of [
    'address add 192.0.2.2/24 dev up0',
    'address add 2001:db8::2/64 dev up0 nodad',
    'route add default via 192.0.2.1',
    'route add default via 2001:db8::1',
  ]) {
    node.run('ip', ...line.split(' '));
  }
  index = { tbo: node.ip('link show tbo')[0].ifindex, up0: node.ip('link show up0')[0].ifindex };
});

after(() => {
  datapath?.close();
  namespaces.close();
});

/** A node that hides its pods, with a service for clients outside in both families. */
function stand(ports = 1, flags: number = NODE_FLAGS.masquerades): void {
  datapath.forget();
  datapath.maps.tb_node.set(0, {
    uplinks: [index.up0],
    vxlan: 0,
    address: parseIP('192.0.2.2') as IPv4,
    overlay_mtu: 1450,
    tunnel_port: 0,
    flags,
    first_port: PORT,
    ports,
    ipv6: parseIP('2001:db8::2') as IPv6,
  });
  for (const { family, pod, far, vip } of CASTS) {
    datapath.maps.tb_pods.set(parseIP(pod), {
      ifindex: index.tbo,
      flags: 0,
      mac: macOf(POD_MAC),
      gateway: macOf(HOST_MAC),
    });
    const length = family === 4 ? 120 : 64;
    const [inside, ranges] = [
      { endpoint: undefined, holder: undefined, flags: TUNNEL_FLAGS.ofPods },
      { endpoint: undefined, holder: undefined, flags: TUNNEL_FLAGS.ofServices },
    ];
    datapath.maps.tb_tunnels.set({ length, address: parseIP(far) }, inside);
    datapath.maps.tb_tunnels.set({ length, address: parseIP(vip) }, ranges);
  }
}

/** The same service for clients outside. */
function open(frontend: string, backends: readonly string[], protocol: 'TCP' | 'UDP', shared = false): void {
  datapath.addService({ frontend, protocol, backends, shared });
  const inside = endpointOf(frontend, protocol);
  const { tb_services } = datapath.maps;
  for (const key of [inside, { ...inside, port: 0, protocol: 0 }]) {
    const value = tb_services.get(key);
    assert.ok(value);
    tb_services.set({ ...key, scope: 'outside' }, value);
    tb_services.delete(key);
  }
}

function run(program: ProgramName, bytes: Buffer): { verdict: number; data: Buffer } {
  return node.inside(() =>
    testRun(datapath.program(program), { data: bytes, context: skBuff({ ifindex: index.up0 }) }),
  );
}

const OUT = { sourceMac: UPLINK_MAC, destinationMac: LEAF_MAC } as const;
const IN = { sourceMac: LEAF_MAC, destinationMac: UPLINK_MAC } as const;
/** What a pod of the node gets. */
const TO_POD = { sourceMac: HOST_MAC, destinationMac: POD_MAC, ttl: 63 } as const;

type Fields = Omit<FrameFields, 'sourceMac' | 'destinationMac'>;

/** A packet leaves by the uplink, and looks like this on the wire. */
function leaves(given: Fields, expected: Fields): void {
  const { verdict, data } = run('tb_uplink_out', frame({ ...OUT, ...given }));
  assert.equal(words(data), words(frame({ ...OUT, ...expected })));
  assert.equal(verdict, VERDICTS.next);
}

/** A packet comes by the uplink, and becomes this. */
function arrives(given: Fields, expected: FrameFields, verdict: number = VERDICTS.redirect): void {
  const result = run('tb_uplink_in', frame({ ...IN, ...given }));
  assert.equal(words(result.data), words(frame(expected)));
  assert.equal(result.verdict, verdict);
}

function drops(program: 'tb_uplink_in' | 'tb_uplink_out', given: Fields, reason: Reason): void {
  const before = datapath.metrics()[reason] ?? 0;
  const { verdict } = run(program, frame({ ...(program === 'tb_uplink_in' ? IN : OUT), ...given }));
  assert.equal(verdict, VERDICTS.drop);
  assert.equal(datapath.metrics()[reason], before + 1);
}

function flows(): [NatKey, Nat][] {
  return [...datapath.maps.tb_nat.entries()];
}

function stage(): Pick<Nat, 'state' | 'flags'> {
  const both = flows();
  const client = both.find(([, { flags }]) => !(flags & NAT_FLAGS.reply))?.[1];
  const server = both.find(([, { flags }]) => flags & NAT_FLAGS.reply)?.[1];
  assert.ok(client && server && both.length === 2, `${both.length} halves`);
  assert.deepEqual(
    [server.state, server.flags & ~NAT_FLAGS.reply],
    [client.state, client.flags],
    'both halves say the same',
  );
  return { state: client.state, flags: client.flags };
}

function age(seconds: number): void {
  for (const [key, nat] of flows()) {
    datapath.maps.tb_nat.set(key, {
      ...nat,
      seen: (nat.seen - seconds) >>> 0,
      since: (nat.since - seconds) >>> 0,
    });
  }
}

function echo(family: 4 | 6, kind: 'request' | 'reply', identifier: number): Transport {
  const type = family === 4 ? { request: 8, reply: 0 } : { request: 128, reply: 129 };
  return icmp(family, type[kind], 0, identifier * 0x10000 + 1, Buffer.from('sixteen bytes...'));
}

function unreachable(family: 4 | 6, about: Fields, kind: 'port' | 'mtu' = 'port'): Transport {
  const [type, code, rest] =
    kind === 'port' ? (family === 4 ? [3, 3, 0] : [1, 4, 0]) : family === 4 ? [3, 4, 1300] : [2, 0, 1300];
  return icmp(family, type ?? 0, code ?? 0, rest ?? 0, packet(about).subarray(0, family === 4 ? 28 : 48));
}

for (const { family, node: own, pod, far, client, router, vip, range } of CASTS) {
  const asks = { source: pod, destination: client };
  const asksHidden = { source: own, destination: client, ttl: 64 };
  const answersHidden = { source: client, destination: own };
  const answersPod = { ...TO_POD, source: client, destination: pod };
  const calls = { source: client, destination: vip };

  describe(`what a pod sends outside by IPv${family}`, () => {
    before(() => {
      datapath?.close();
      datapath = new Datapath();
    });
    beforeEach(() => stand());

    const FORMS: readonly [
      what: string,
      asked: (port: number) => Transport,
      answered: (port: number) => Transport,
    ][] = [
      [
        'TCP',
        (port) => tcp({ from: port, to: 443, flags: 'S' }),
        (port) => tcp({ from: 443, to: port, flags: 'S.' }),
      ],
      [
        'UDP',
        (port) => udp({ from: port, to: 53, payload: 'question' }),
        (port) => udp({ from: 53, to: port, payload: 'answer!' }),
      ],
      ['an echo', (port) => echo(family, 'request', port), (port) => echo(family, 'reply', port)],
    ];
    for (const [what, asked, answered] of FORMS) {
      test(`has the node's address, and one of its ports, on ${what}; the answer is the pod's again`, () => {
        leaves({ ...asks, transport: asked(40_000) }, { ...asksHidden, transport: asked(PORT) });
        arrives(
          { ...answersHidden, transport: answered(PORT) },
          { ...answersPod, transport: answered(40_000) },
        );
        leaves({ ...asks, transport: asked(40_000) }, { ...asksHidden, transport: asked(PORT) });
        assert.deepEqual(datapath.metrics(), { masqueraded: 1, forwarded_to_pod: 1 });
      });
    }

    test('keeps its address in the cluster', () => {
      const inside = { source: pod, destination: far, transport: tcp({ from: 1, to: 2 }) };
      leaves(inside, inside);
      assert.equal(flows().length, 0);
    });

    test('keeps it where it opens nothing', () => {
      for (const transport of [
        tcp({ from: 1, to: 2, flags: 'S.' }),
        tcp({ from: 1, to: 2, flags: '.' }),
        echo(family, 'reply', 7),
      ]) {
        leaves({ ...asks, transport }, { ...asks, transport });
      }
      assert.equal(flows().length, 0);
    });

    test('keeps it as the answer to a datagram from there', () => {
      const datagram = { source: client, destination: pod, transport: udp({ from: 9, to: 53 }) };
      arrives(datagram, { ...TO_POD, ...datagram, ttl: 63 });
      const answer = { ...asks, transport: udp({ from: 53, to: 9 }) };
      leaves(answer, answer);
    });

    test('to an announced address that no service has is refused before it leaves', () => {
      const { verdict, data } = run(
        'tb_uplink_out',
        frame({ ...OUT, source: pod, destination: range, transport: tcp({ from: 1, to: 2, seq: 9 }) }),
      );
      assert.equal(verdict, VERDICTS.redirect);
      const reset = tcp({ from: 2, to: 1, flags: 'R.', seq: 0, ack: 10 });
      assert.equal(words(data), words(frame({ ...IN, source: range, destination: pod, transport: reset })));
    });

    test('is held back while nobody knows what is outside', () => {
      stand(1, NODE_FLAGS.awaitsCluster);
      drops('tb_uplink_out', { ...asks, transport: tcp({ from: 1, to: 2 }) }, 'cluster_unknown');
      drops('tb_uplink_out', { ...asks, transport: udp({ from: 1, to: 2 }) }, 'cluster_unknown');
      const inside = { source: pod, destination: far, transport: udp({ from: 1, to: 2 }) };
      leaves(inside, inside);
    });

    test('is dropped when the ports for that peer are used up, and only for that peer', () => {
      leaves(
        { ...asks, transport: tcp({ from: 1, to: 443 }) },
        { ...asksHidden, transport: tcp({ from: PORT, to: 443 }) },
      );
      drops('tb_uplink_out', { ...asks, transport: tcp({ from: 2, to: 443 }) }, 'nat_no_port');
      leaves(
        { ...asks, transport: tcp({ from: 2, to: 444 }) },
        { ...asksHidden, transport: tcp({ from: PORT, to: 444 }) },
      );
      leaves(
        { ...asks, transport: udp({ from: 2, to: 443 }) },
        { ...asksHidden, transport: udp({ from: PORT, to: 443 }) },
      );
    });

    test('gets the port of a flow that is over, and of one that is not, no sooner than its time is', () => {
      leaves(
        { ...asks, transport: tcp({ from: 1, to: 443 }) },
        { ...asksHidden, transport: tcp({ from: PORT, to: 443 }) },
      );
      arrives(
        { ...answersHidden, transport: tcp({ from: 443, to: PORT, flags: 'R.' }) },
        { ...answersPod, transport: tcp({ from: 443, to: 1, flags: 'R.' }) },
      );
      drops('tb_uplink_out', { ...asks, transport: tcp({ from: 2, to: 443 }) }, 'nat_no_port');
      age(2);
      leaves(
        { ...asks, transport: tcp({ from: 2, to: 443 }) },
        { ...asksHidden, transport: tcp({ from: PORT, to: 443 }) },
      );
      age(59);
      drops('tb_uplink_out', { ...asks, transport: tcp({ from: 3, to: 443 }) }, 'nat_no_port');
      age(2);
      leaves(
        { ...asks, transport: tcp({ from: 3, to: 443 }) },
        { ...asksHidden, transport: tcp({ from: PORT, to: 443 }) },
      );
      assert.equal(flows().length, 2, 'nothing is left of those before');
    });

    test('is followed through the states of TCP', () => {
      const sends = (flags: string) =>
        leaves(
          { ...asks, transport: tcp({ from: 1, to: 443, flags }) },
          { ...asksHidden, transport: tcp({ from: PORT, to: 443, flags }) },
        );
      const hears = (flags: string) =>
        arrives(
          { ...answersHidden, transport: tcp({ from: 443, to: PORT, flags }) },
          { ...answersPod, transport: tcp({ from: 443, to: 1, flags }) },
        );
      sends('S');
      assert.deepEqual(stage(), { state: 'new', flags: 0 });
      hears('S.');
      assert.deepEqual(stage(), { state: 'open', flags: 0 });
      sends('F.');
      assert.deepEqual(stage(), { state: 'open', flags: FLOW_FLAGS.clientFin });
      hears('F.');
      assert.deepEqual(stage(), { state: 'closing', flags: FLOW_FLAGS.clientFin | FLOW_FLAGS.serverFin });
      sends('S');
      assert.deepEqual(stage(), { state: 'new', flags: 0 });
      hears('S.');
      hears('F.');
      sends('F.');
      assert.deepEqual(stage(), {
        state: 'closing',
        flags: FLOW_FLAGS.clientFin | FLOW_FLAGS.serverFin | FLOW_FLAGS.lingers,
      });
      sends('S');
      hears('R.');
      assert.equal(stage().state, 'reset');
      age(3);
      sends('.');
      assert.equal(stage().state, 'open', 'a reset that nobody believed');
    });

    test('in fragments leaves whole, in any order', () => {
      const given = { ...asks, transport: udp({ from: 40_000, to: 53, payload: Buffer.alloc(2000, 'x') }) };
      const expected = {
        ...asksHidden,
        transport: udp({ from: PORT, to: 53, payload: Buffer.alloc(2000, 'x') }),
      };
      const [first, second, third] = fragmentsOf({ ...OUT, ...given }, 800, 7);
      const wanted = fragmentsOf({ ...OUT, ...expected }, 800, 7).map(words);
      assert.ok(first && second && third);
      for (const [place, fragment] of [first, third, second].entries()) {
        const { verdict, data } = run('tb_uplink_out', fragment);
        assert.deepEqual([verdict, words(data)], [VERDICTS.next, wanted[[0, 2, 1][place] ?? 0]]);
      }
      const [early, , late] = fragmentsOf({ ...OUT, ...given }, 800, 8);
      assert.ok(early && late);
      assert.equal(run('tb_uplink_out', late).verdict, VERDICTS.drop);
      assert.equal(datapath.metrics().fragment_held, 1, 'the last waits for the first');
      run('tb_uplink_out', early);
      assert.equal(datapath.metrics().fragment_released, 1);
    });

    test('is told of errors by routers, which keep their addresses, and by the peer', () => {
      const sent = { ...asksHidden, transport: udp({ from: PORT, to: 53, payload: 'question' }) };
      const known = { ...asks, transport: udp({ from: 40_000, to: 53, payload: 'question' }) };
      leaves(known, sent);
      for (const [source, kind] of [
        [router, 'mtu'],
        [client, 'port'],
      ] as const) {
        arrives(
          { source, destination: own, transport: unreachable(family, sent, kind) },
          { ...TO_POD, source, destination: pod, transport: unreachable(family, known, kind) },
        );
      }
      assert.equal(datapath.metrics().icmp_translated, 2);
    });

    test('tells of errors from the node, as the one who was hidden', () => {
      leaves(
        { ...asks, transport: udp({ from: 40_000, to: 53 }) },
        { ...asksHidden, transport: udp({ from: PORT, to: 53 }) },
      );
      const got = {
        source: client,
        destination: pod,
        transport: udp({ from: 53, to: 40_000, payload: 'late' }),
      };
      const sent = {
        source: client,
        destination: own,
        transport: udp({ from: 53, to: PORT, payload: 'late' }),
      };
      leaves(
        { ...asks, transport: unreachable(family, got) },
        { ...asksHidden, transport: unreachable(family, sent) },
      );
    });

    test('leaves an error about nothing that is known as it is', () => {
      const about = { ...asksHidden, transport: udp({ from: 5, to: 6 }) };
      const stray = { ...IN, source: router, destination: own, transport: unreachable(family, about) };
      arrives(stray, stray, VERDICTS.next);
    });
  });

  describe(`what a client outside sends by IPv${family}`, () => {
    before(() => {
      datapath?.close();
      datapath = new Datapath();
      open(at(vip, 80), [at(pod, 8080)], 'TCP');
      open(at(vip, 53), [at(far, 5353)], 'UDP');
      open(at(vip, 81), [], 'TCP');
      open(at(own, 30_080), [at(pod, 8080)], 'TCP', true);
    });
    beforeEach(() => stand());

    for (const [what, address, port] of [
      ['an announced address', vip, 80],
      ['a node port', own, 30_080],
    ] as const) {
      test(`to ${what} gets to a pod of the node, which sees the client, and the answer comes from there`, () => {
        arrives(
          { source: client, destination: address, transport: tcp({ from: 5000, to: port, flags: 'S' }) },
          {
            ...TO_POD,
            source: client,
            destination: pod,
            transport: tcp({ from: 5000, to: 8080, flags: 'S' }),
          },
        );
        leaves(
          { source: pod, destination: client, transport: tcp({ from: 8080, to: 5000, flags: 'S.' }) },
          { source: address, destination: client, transport: tcp({ from: port, to: 5000, flags: 'S.' }) },
        );
        assert.equal(stage().state, 'open');
      });
    }

    test('gets to a backend elsewhere with the address of the node, and back', () => {
      arrives(
        { ...calls, transport: udp({ from: 5000, to: 53, payload: 'question' }) },
        {
          ...IN,
          source: own,
          destination: far,
          ttl: 63,
          transport: udp({ from: PORT, to: 5353, payload: 'question' }),
        },
      );
      const answer = run(
        'tb_uplink_in',
        frame({
          ...IN,
          source: far,
          destination: own,
          transport: udp({ from: 5353, to: PORT, payload: 'answer' }),
        }),
      );
      assert.equal(
        words(answer.data),
        words(
          frame({
            ...IN,
            source: vip,
            destination: client,
            ttl: 63,
            transport: udp({ from: 53, to: 5000, payload: 'answer' }),
          }),
        ),
      );
      assert.equal(answer.verdict, VERDICTS.redirect);
    });

    test('a router on the way to the client tells the backend elsewhere, in the name of the node', () => {
      arrives(
        { ...calls, transport: udp({ from: 5000, to: 53 }) },
        { ...IN, source: own, destination: far, ttl: 63, transport: udp({ from: PORT, to: 5353 }) },
      );
      const shown = {
        source: vip,
        destination: client,
        transport: udp({ from: 53, to: 5000, payload: 'answer' }),
      };
      const sent = {
        source: far,
        destination: own,
        transport: udp({ from: 5353, to: PORT, payload: 'answer' }),
      };
      arrives(
        { source: router, destination: vip, transport: unreachable(family, shown, 'mtu') },
        { ...IN, source: own, destination: far, ttl: 63, transport: unreachable(family, sent, 'mtu') },
      );
    });

    test('in fragments is translated, and what comes before the first waits', () => {
      const given = { ...calls, transport: udp({ from: 5000, to: 53, payload: Buffer.alloc(1200, 'y') }) };
      const expected = {
        ...IN,
        source: own,
        destination: far,
        ttl: 63,
        transport: udp({ from: PORT, to: 5353, payload: Buffer.alloc(1200, 'y') }),
      };
      const [first, second] = fragmentsOf({ ...IN, ...given }, 800, 9);
      assert.ok(first && second);
      assert.equal(run('tb_uplink_in', second).verdict, VERDICTS.drop);
      assert.equal(datapath.metrics().fragment_held, 1);
      assert.equal(run('tb_uplink_in', first).verdict, VERDICTS.drop, 'went as a clone, before what waited');
      assert.equal(datapath.metrics().fragment_released, 1);
      const wanted = fragmentsOf(expected, 800, 9).map(words);
      for (const [place, fragment] of [first, second].entries())
        assert.equal(words(run('tb_uplink_in', fragment).data), wanted[place]);
    });

    const refusals: readonly [what: string, fields: Fields, answer: Transport, reason: Reason][] = [
      [
        'another port',
        { ...calls, transport: tcp({ from: 5000, to: 82, seq: 7 }) },
        tcp({ from: 82, to: 5000, flags: 'R.', seq: 0, ack: 8 }),
        'outside_no_such_port',
      ],
      [
        'a service without backends',
        { ...calls, transport: tcp({ from: 5000, to: 81, seq: 7 }) },
        tcp({ from: 81, to: 5000, flags: 'R.', seq: 0, ack: 8 }),
        'outside_no_backend',
      ],
      [
        'an address that no service has',
        { source: client, destination: range, transport: tcp({ from: 5000, to: 80, seq: 7 }) },
        tcp({ from: 80, to: 5000, flags: 'R.', seq: 0, ack: 8 }),
        'outside_no_service',
      ],
      [
        'the middle of a connection',
        { ...calls, transport: tcp({ from: 5000, to: 82, flags: '.', ack: 77 }) },
        tcp({ from: 82, to: 5000, flags: 'R', seq: 77 }),
        'outside_no_such_port',
      ],
    ];
    for (const [what, fields, answer, reason] of refusals) {
      test(`is refused by a RST: ${what}`, () => {
        arrives(fields, { ...OUT, source: fields.destination, destination: client, transport: answer });
        assert.deepEqual(datapath.metrics(), { [reason]: 1 });
        assert.equal(flows().length, 0);
      });
    }

    test('is not answered where it is a RST, an error or a later fragment, nor whoever is nobody', () => {
      drops(
        'tb_uplink_in',
        { ...calls, transport: tcp({ from: 5000, to: 82, flags: 'R' }) },
        'outside_no_such_port',
      );
      const group = family === 4 ? '224.0.0.9' : 'ff02::9';
      const nobody = family === 4 ? '0.0.0.0' : '::';
      for (const source of [group, nobody]) {
        drops(
          'tb_uplink_in',
          { source, destination: vip, transport: tcp({ from: 1, to: 82 }) },
          'outside_no_such_port',
        );
      }
    });

    test('is answered a hundred times in a second, and other clients theirs', () => {
      const attempt = (source: string) =>
        run('tb_uplink_in', frame({ ...IN, source, destination: vip, transport: tcp({ from: 1, to: 82 }) }))
          .verdict;
      const [one, another] =
        family === 4 ? ['198.51.100.200', '198.51.100.201'] : ['2001:db8:a::1', '2001:db8:b::1'];
      const began = performance.now();
      const verdicts = Array.from({ length: 250 }, () => attempt(one));
      const seconds = Math.ceil((performance.now() - began) / 1000);
      const answered = verdicts.filter((verdict) => verdict === VERDICTS.redirect).length;
      // Seconds may end meanwhile.
      assert.ok(answered >= 100 && answered <= 100 * (seconds + 1), `${answered} in ${seconds} s`);
      assert.equal(attempt(another), VERDICTS.redirect);
      assert.ok((datapath.metrics().outside_unanswered ?? 0) >= 250 - answered);
    });

    test('comes with the address of a pod of the node: it is dropped', () => {
      drops(
        'tb_uplink_in',
        { source: pod, destination: pod, transport: udp({ from: 1, to: 2 }) },
        'wrong_origin',
      );
      drops(
        'tb_uplink_in',
        { source: own, destination: pod, transport: udp({ from: 1, to: 2 }) },
        'wrong_origin',
      );
    });
  });

  describe(`a full table, by IPv${family}`, () => {
    before(() => {
      datapath?.close();
      datapath = new Datapath({ maxEntries: SMALL });
      open(at(vip, 80), [at(pod, 8080)], 'TCP');
    });
    beforeEach(() => stand(1000));

    test('drops what begins and keeps what there is, until a flow is over and collected', () => {
      const attempt = (from: number) =>
        run('tb_uplink_out', frame({ ...OUT, ...asks, transport: tcp({ from, to: 443 }) }));
      const verdicts = Array.from({ length: 40 }, (_, from) => attempt(from + 1).verdict);
      const entered = verdicts.filter((verdict) => verdict === VERDICTS.next).length;
      assert.ok(entered >= 2 && entered < 40, `${entered} flows`);
      assert.equal(datapath.metrics().nat_table_full, 40 - entered);
      assert.equal(flows().length % 2, 0, 'no half without its other');
      assert.equal(attempt(1).verdict, VERDICTS.next);
      const call = { ...calls, transport: tcp({ from: 5000, to: 80 }) };
      drops('tb_uplink_in', call, 'nat_table_full');
      age(61);
      const { expired } = datapath.collect('tb_nat_gc', 'tb_nat');
      assert.equal(expired, entered);
      arrives(call, {
        ...TO_POD,
        source: client,
        destination: pod,
        transport: tcp({ from: 5000, to: 8080 }),
      });
    });
  });
}
