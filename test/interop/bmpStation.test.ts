import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { encodeBmp } from '../../src/bgp/bmp/encode.ts';
import { STATISTIC } from '../../src/bgp/bmp/message.ts';
import { asnOf, decodeOpen } from '../../src/bgp/wire/open.ts';
import { dissect } from './capture.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import { StationHost, StrictStation } from './station.ts';
import { Tombolo } from './tombolo.ts';
import { eventually } from './waiting.ts';

/** A router with two FRR peers, and a station that hears of it; whatever the station finds wrong fails the test. */
const lab = new Lab('bgpbmp');
const router = lab.router('router', 1);
const [first, second] = [lab.router('first', 2), lab.router('second', 3)];
const host = lab.router('host', 9);

function frr(at: typeof first, asn: number, networks: readonly string[]): Frr {
  return new Frr(
    at,
    [
      `router bgp ${asn}`,
      `bgp router-id ${at.ipv4}`,
      'no bgp ebgp-requires-policy',
      'no bgp network import-check',
      `neighbor ${router.ipv4} remote-as 65001`,
      `neighbor ${router.ipv4} timers connect 1`,
      'address-family ipv4 unicast',
      ...networks.map((network) => `network ${network}`),
      'exit-address-family',
      'address-family ipv6 unicast',
      `neighbor ${router.ipv4} activate`,
      'exit-address-family',
    ].join('\n'),
  );
}

function config(changes: Record<string, unknown> = {}): string {
  return JSON.stringify({
    asn: 65001,
    routerId: router.ipv4,
    name: 'router-1',
    defaults: { connectRetryTime: 1, filters: ['no-private'] },
    neighbours: [
      { name: 'first', address: first.ipv4, asn: 65002 },
      { name: 'second', address: second.ipv4, asn: 4200000003 },
    ],
    networks: ['10.1.0.0/24', '2001:db8:1::/48'],
    filters: {
      'no-private': { importV4: [{ action: 'Reject', cidr: '192.168.0.0/16', matchOperator: 'In' }] },
    },
    bmpServers: [{ address: `${host.ipv4}:11019`, statisticsInterval: '1s' }],
    ...changes,
  });
}

describe('a station', () => {
  let station: StationHost;
  let one: Frr;
  let tombolo: Tombolo;
  const heard = (connection = 0) => new StrictStation(station.bytes(connection));

  before(async () => {
    one = frr(first, 65002, ['10.2.0.0/24', '192.168.7.0/24']);
    frr(second, 4200000003, ['10.3.0.0/24']);
    station = new StationHost(host, 'station');
    tombolo = new Tombolo(router, config());
    await eventually('sessions are up', () => tombolo.isUp('first') && tombolo.isUp('second'));
    await eventually(
      'all tables are told',
      () => Object.keys(heard().table('loc-rib', 'loc-rib')).length === 4,
    );
  });
  after(() => lab.close());

  test('hears what each peer says, before and after policy', async () => {
    await eventually(
      'what was refused',
      () => '192.168.7.0/24' in heard().table(first.ipv4, 'adj-rib-in-pre'),
    );
    const said = heard();
    const before = said.table(first.ipv4, 'adj-rib-in-pre');
    assert.equal(before['10.2.0.0/24'], first.ipv4);
    // FRR tells us our own route, too: a loop, which policy sees to.
    await eventually('the loop', () => '10.1.0.0/24' in heard().table(first.ipv4, 'adj-rib-in-pre'));
    assert.deepEqual(said.table(first.ipv4, 'adj-rib-in-post'), { '10.2.0.0/24': first.ipv4 });
    assert.deepEqual(said.table(second.ipv4, 'adj-rib-in-post'), { '10.3.0.0/24': second.ipv4 });
  });

  test('hears what the router has chosen, its own routes included', () => {
    assert.deepEqual(heard().table('loc-rib', 'loc-rib'), {
      '10.1.0.0/24': router.ipv4,
      '10.2.0.0/24': first.ipv4,
      '10.3.0.0/24': second.ipv4,
      '2001:db8:1::/48': 'v6',
    });
  });

  test('hears what each peer was told', async () => {
    const told = () => heard().table(first.ipv4, 'adj-rib-out-post');
    const expected = { '10.1.0.0/24': router.ipv4, '10.3.0.0/24': router.ipv4, '2001:db8:1::/48': 'v6' };
    await eventually('the peer was told', () => {
      if (isDeepStrictEqual(told(), expected)) return true;
      throw new Error(JSON.stringify(told()));
    });
  });

  test('sees the OPENs as they were, and the ports of both ends', () => {
    const up = heard().messages.filter((message) => message.type === 'peer-up');
    const [, ...sessions] = up;
    assert.equal(sessions.length, 2);
    for (const { peer, sentOpen, receivedOpen, localPort, remotePort } of sessions) {
      assert.equal(asnOf(decodeOpen(sentOpen)), 65001);
      assert.equal(asnOf(decodeOpen(receivedOpen)), peer.asn);
      // FRR says its host name, which we would never make up.
      assert.ok(receivedOpen.includes(peer.asn === 65002 ? 'first' : 'second'));
      assert.ok(localPort === 179 || remotePort === 179);
      assert.ok(localPort > 0 && remotePort > 0);
    }
  });

  test('is told of every table when it is complete, and gets numbers', async () => {
    await eventually('all ends', () => heard().ended.size >= 2 + 2 * 2 * 3);
    await eventually('numbers', () => heard().messages.some(({ type }) => type === 'statistics'));
    const numbers = heard().messages.findLast((message) => message.type === 'statistics');
    assert.ok(numbers?.statistics.some(({ type }) => type === STATISTIC.adjRibIn));
  });

  test('hears of every change', async () => {
    one.vtysh(
      'configure terminal',
      'router bgp 65002',
      'address-family ipv4 unicast',
      'no network 10.2.0.0/24',
    );
    await eventually('it is gone', () => !('10.2.0.0/24' in heard().table('loc-rib', 'loc-rib')));
    await eventually('here too', () => !('10.2.0.0/24' in heard().table(second.ipv4, 'adj-rib-out-post')));
    assert.deepEqual(heard().table(first.ipv4, 'adj-rib-in-post'), {});
    one.vtysh('configure terminal', 'router bgp 65002', 'address-family ipv4 unicast', 'network 10.2.1.0/24');
    await eventually('it has come', () => '10.2.1.0/24' in heard().table(first.ipv4, 'adj-rib-in-post'));
    // Another filter: what was refused is let in, without a word from the peer.
    tombolo.configure(config({ defaults: { connectRetryTime: 1 } }));
    await eventually('let in', () => '192.168.7.0/24' in heard().table(first.ipv4, 'adj-rib-in-post'));
    await eventually('chosen', () => '192.168.7.0/24' in heard().table('loc-rib', 'loc-rib'));
  });

  test('hears why a peer goes, and its tables go with it', async () => {
    const speak = (word: string) =>
      one.vtysh('configure terminal', 'router bgp 65002', `${word} ${router.ipv4} shutdown`);
    speak('neighbor');
    await eventually('it is down', () => !heard().up.has(first.ipv4));
    const down = heard().messages.findLast((message) => message.type === 'peer-down');
    assert.equal(down?.reason.kind, 'remote-notification');
    assert.deepEqual(heard().table(first.ipv4, 'adj-rib-in-pre'), {});
    await eventually('no route is left', () => !('10.2.1.0/24' in heard().table('loc-rib', 'loc-rib')));
    speak('no neighbor');
    await eventually('it is back', () => '10.2.1.0/24' in heard().table(first.ipv4, 'adj-rib-in-post'));
  });

  test('that comes back is told everything anew', async () => {
    await station.stop();
    station = new StationHost(host, 'again');
    await eventually('it is told', () => Object.keys(heard().table('loc-rib', 'loc-rib')).length === 5);
    assert.deepEqual([...heard().up].sort(), ['10.99.0.2', '10.99.0.3', 'loc-rib']);
    await eventually(
      'what was sent',
      () => Object.keys(heard().table(first.ipv4, 'adj-rib-out-post')).length === 3,
    );
  });

  test('may be tshark, which finds nothing malformed', () => {
    // tshark 4.0 takes the information behind the OPENs of Loc-RIB for one more BGP message.
    const readable = heard().messages.filter(
      (message) => message.type !== 'peer-up' || message.information.length === 0,
    );
    const segments = readable.map((message) => ({ port: 11019, payload: encodeBmp(message) }));
    const fields = ['_ws.malformed.expert', 'bmp.type', 'bgp.nlri_prefix'] as const;
    const seen = dissect(segments, fields, ['-d', 'tcp.port==11019,bmp']);
    assert.deepEqual(
      seen.flatMap((message) => message['_ws.malformed.expert']),
      [],
    );
    assert.ok(seen.some((message) => message['bgp.nlri_prefix'].includes('10.1.0.0')));
  });

  test('is not needed for a dump of the table, which bgpdump reads', () => {
    const file = router.file('table.mrt', '');
    const socket = join(router.directory, 'tombolo.sock');
    tombolo.cli('bgp', 'dump', '--socket', socket, file);
    const lines = router.namespace.run('bgpdump', '-m', file).trim().split('\n');
    const routes = lines.map((line) => line.split('|').slice(3, 7).join(' '));
    assert.ok(routes.includes(`0.0.0.0 65001 10.1.0.0/24 `), routes.join('\n'));
    assert.ok(routes.includes(`10.99.0.3 4200000003 10.3.0.0/24 4200000003`), routes.join('\n'));
    assert.ok(
      routes.some((route) => route.includes('2001:db8:1::/48')),
      routes.join('\n'),
    );
  });

  test('that is taken off the configuration is told so', async () => {
    tombolo.configure(config({ bmpServers: [] }));
    await eventually('farewell', () => heard().messages.at(-1)?.type === 'termination');
  });
});
