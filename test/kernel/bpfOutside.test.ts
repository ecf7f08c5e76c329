import assert from 'node:assert/strict';
import { before, beforeEach, describe, test } from 'node:test';
import type { Reason } from '../../src/datapath/reasons.ts';
import {
  arrives,
  CASTS,
  datapath,
  drops,
  type Fields,
  flows,
  IN,
  leaves,
  load,
  OUT,
  open,
  PORT,
  run,
  stage,
  stand,
  TO_POD,
  unreachable,
} from './bpfNatScene.ts';
import { at, VERDICTS } from './bpfTestPod.ts';
import { fragmentsOf, frame, type Transport, tcp, udp, describe as words } from './packets.ts';

before(() => {
  load();
  for (const { node: own, pod, far, vip } of CASTS) {
    open(at(vip, 80), [at(pod, 8080)], 'TCP');
    open(at(vip, 53), [at(far, 5353)], 'UDP');
    open(at(vip, 81), [], 'TCP');
    open(at(own, 30_080), [at(pod, 8080)], 'TCP', true);
  }
});
beforeEach(() => stand());

for (const { family, node: own, pod, far, client, router, vip, range } of CASTS) {
  const calls = { source: client, destination: vip };

  describe(`what a client outside sends by IPv${family}`, () => {
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
}
