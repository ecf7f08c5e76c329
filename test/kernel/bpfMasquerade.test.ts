import assert from 'node:assert/strict';
import { before, beforeEach, describe, test } from 'node:test';
import { FLOW_FLAGS } from '../../src/datapath/maps/flows.ts';
import { NAT_FLAGS } from '../../src/datapath/maps/nat.ts';
import { NODE_FLAGS } from '../../src/datapath/maps/node.ts';
import {
  age,
  arrives,
  CASTS,
  datapath,
  drops,
  echo,
  flows,
  IN,
  leaves,
  load,
  OUT,
  PORT,
  run,
  stage,
  stand,
  TO_POD,
  unreachable,
} from './bpfNatScene.ts';
import { VERDICTS } from './bpfTestPod.ts';
import { fragmentsOf, frame, type Transport, tcp, udp, describe as words } from './packets.ts';

/** The source port of a frame. */
const portOf = (data: Buffer) => data.readUInt16BE(data.readUInt16BE(12) === 0x0800 ? 34 : 54);

before(() => load());
beforeEach(() => stand());

for (const { family, node: own, pod, far, client, router, range } of CASTS) {
  const asks = { source: pod, destination: client };
  const asksHidden = { source: own, destination: client, ttl: 64 };
  const answersHidden = { source: client, destination: own };
  const answersPod = { ...TO_POD, source: client, destination: pod };

  describe(`what a pod sends outside by IPv${family}`, () => {
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

    test('may have every port of the node towards one server; who comes later gets what is over, and other servers are others', () => {
      const ports = 200;
      stand(ports);
      const ask = (from: number, flags = 'S', destination: string = client) =>
        run(
          'tb_uplink_out',
          frame({ ...OUT, ...asks, destination, transport: tcp({ from, to: 443, flags }) }),
        );
      // The last free ones are found by luck, as the kernel repeats a SYN.
      const insist = (from: number) => {
        let verdict: number = VERDICTS.drop;
        for (let tries = 0; verdict === VERDICTS.drop && tries < 100; tries++) verdict = ask(from).verdict;
        return verdict;
      };
      for (let from = 1; from <= ports; from++) insist(from);
      const given = flows().filter(([, { flags }]) => flags & NAT_FLAGS.reply);
      assert.equal(new Set(given.map(([key]) => key.destination_port)).size, ports);
      drops('tb_uplink_out', { ...asks, transport: tcp({ from: 5000, to: 443 }) }, 'nat_no_port');
      assert.equal(ask(5000, 'S', router).verdict, VERDICTS.next, 'another server');
      assert.equal(ask(7).verdict, VERDICTS.next, 'what has a port keeps it');
      for (let from = 1; from <= ports / 4; from++) ask(from, 'R.');
      age(2);
      assert.equal(insist(5000), VERDICTS.next, 'a port of a connection that is over');
      const answer = run(
        'tb_uplink_in',
        frame({
          ...IN,
          ...answersHidden,
          transport: tcp({ from: 443, to: portOf(ask(60, '.').data), flags: '.' }),
        }),
      );
      assert.equal(answer.data.readUInt16BE(family === 4 ? 36 : 56), 60, 'the others have theirs still');
    });

    test('leaves an error about nothing that is known as it is', () => {
      const about = { ...asksHidden, transport: udp({ from: 5, to: 6 }) };
      const stray = { ...IN, source: router, destination: own, transport: unreachable(family, about) };
      arrives(stray, stray, VERDICTS.next);
    });
  });
}
