import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseIPv4 } from '../../address/ip.ts';
import { parseRouterConfig } from '../config/file.ts';
import type { SessionConfig } from '../config/router.ts';
import { findCapability } from '../wire/capability.ts';
import { MessageError } from '../wire/error.ts';
import { IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import type { Open } from '../wire/open.ts';
import { type Agreement, agree, offer, summaryOf } from './negotiate.ts';
import { retentionAfter } from './retention.ts';

function session(asn: number, more: Record<string, unknown> = {}): SessionConfig {
  const config = {
    asn,
    routerId: '1.1.1.1',
    neighbours: [{ address: '10.0.0.2', asn: 'external', ...more }],
  };
  return parseRouterConfig(JSON.stringify(config)).neighbours[0] ?? assert.fail('no neighbour');
}

const speaker = (identifier: string, more = {}) => ({
  identifier: parseIPv4(identifier),
  restarting: false,
  preserved: new Set([IPV4_UNICAST]),
  ...more,
});
const open = (asn: number, more = {}, identity = speaker('2.2.2.2')): Open =>
  offer(session(asn, more), identity);

function between(
  ours: Record<string, unknown>,
  theirs: Record<string, unknown>,
  theirAsn = 65002,
): Agreement {
  const config = session(65001, ours);
  return agree(config, offer(config, speaker('1.1.1.1')), open(theirAsn, theirs));
}

function refusal(ours: Record<string, unknown>, received: Open): string {
  const config = session(65001, ours);
  try {
    agree(config, offer(config, speaker('1.1.1.1')), received);
  } catch (error) {
    assert.ok(error instanceof MessageError);
    return `${error.code}/${error.subcode} ${error.message}`;
  }
  return 'accepted';
}

describe('two OPENs', () => {
  test('agree on the smaller hold time, on common families, and on four-octet AS numbers', () => {
    const agreement = between(
      { holdTime: 30 },
      { holdTime: 90, families: ['ipv4'], asn: 'external' },
      1_111_111,
    );
    assert.equal(agreement.holdTime, 30);
    assert.equal(agreement.remoteAs, 1_111_111);
    assert.equal(agreement.received.myAs, 23456);
    assert.equal(agreement.type, 'ebgp');
    assert.deepEqual(
      agreement.families.map(({ family }) => family),
      [IPV4_UNICAST],
    );
    assert.deepEqual(summaryOf(agreement).holdTime, 30_000);
  });

  test('switch the hold timer off where one side wants it off', () => {
    assert.equal(between({ holdTime: 0 }, {}).holdTime, 0);
    assert.equal(between({}, { holdTime: 0 }).holdTime, 0);
  });

  test('use path identifiers in the direction in which one sends and the other receives', () => {
    const addPath = (mode: string) => ({ families: [{ family: 'ipv4', addPath: mode }] });
    const flags = (ours: string, theirs: string) => {
      const [family] = between(addPath(ours), addPath(theirs)).families;
      return [family?.addPathSend, family?.addPathReceive];
    };
    assert.deepEqual(flags('both', 'both'), [true, true]);
    assert.deepEqual(flags('send', 'receive'), [true, false]);
    assert.deepEqual(flags('receive', 'receive'), [false, false]);
    assert.deepEqual(flags('receive', 'send'), [false, true]);
  });

  test('without a multiprotocol capability speak IPv4 unicast', () => {
    const plain = { ...open(65002), capabilities: [] };
    const config = session(65001);
    const agreement = agree(config, offer(config, speaker('1.1.1.1')), plain);
    assert.deepEqual(
      agreement.families.map(({ family }) => family),
      [IPV4_UNICAST],
    );
    assert.equal(agreement.fourOctetAs, false);
    assert.equal(agreement.routeRefresh, false);
    assert.equal(agreement.endOfRib, 'none');
  });

  test('are refused by what is wrong, with what was expected', () => {
    assert.match(refusal({ asn: 65009 }, open(65002)), /^2\/2 .*the peer is in AS 65002, expected 65009/);
    assert.match(refusal({ asn: 'internal' }, open(65002)), /^2\/2 /);
    assert.match(refusal({ asn: 'external' }, open(65001)), /^2\/2 /);
    assert.match(refusal({ asn: 'internal' }, open(65001, {}, speaker('1.1.1.1'))), /^2\/3 /);
    assert.equal(refusal({}, open(65002, {}, speaker('1.1.1.1'))), 'accepted', 'RFC 6286');
    assert.match(
      refusal({ families: ['ipv6'] }, open(65002, { families: ['ipv4'] })),
      /^2\/7 .*ipv6-unicast/,
    );
  });
});

describe('graceful restart', () => {
  test('is offered for every family with the forwarding bit as it is', () => {
    const restarted = offer(session(65001), speaker('1.1.1.1', { restarting: true }));
    assert.deepEqual(findCapability(restarted.capabilities, 'graceful-restart'), {
      name: 'graceful-restart',
      restarting: true,
      notification: true,
      restartTime: 120,
      families: [
        { family: IPV4_UNICAST, forwardingPreserved: true },
        { family: IPV6_UNICAST, forwardingPreserved: false },
      ],
    });
    assert.equal(
      findCapability(open(65001, { gracefulRestart: false }).capabilities, 'graceful-restart'),
      undefined,
    );
  });

  test('keeps only what both sides speak of', () => {
    const agreement = between({ families: ['ipv4'] }, { gracefulRestart: { restartTime: 33 } });
    assert.equal(agreement.restart?.restartTime, 33);
    assert.deepEqual(agreement.restart?.families, [{ family: IPV4_UNICAST, longLivedStaleTime: 0 }]);
    assert.equal(between({ gracefulRestart: false }, {}).restart, undefined);
    assert.equal(between({}, { gracefulRestart: false }).restart, undefined);
  });

  test('comes with NOTIFICATIONs only where both sides have said so (RFC 8538)', () => {
    const without = { gracefulRestart: { restartTime: 120, notification: false } };
    assert.equal(between({}, {}).restart?.notification, true);
    assert.equal(between(without, {}).restart?.notification, false);
    assert.equal(between({}, without).restart?.notification, false);
  });

  test('goes on as long-lived for the shorter of both times', () => {
    const long = (longLivedStaleTime: number) => ({ gracefulRestart: { longLivedStaleTime } });
    assert.equal(between(long(100), long(60)).restart?.families[0]?.longLivedStaleTime, 60);
    assert.equal(between(long(100), {}).restart?.families[0]?.longLivedStaleTime, 0);
    assert.equal(between(long(100), long(60)).longLived, true);
  });

  const notification = (code: number, subcode: number) =>
    ({ type: 'NOTIFICATION', code, subcode, data: Buffer.alloc(0) }) as const;
  const agreement = between({}, {});
  const old = { ...agreement, restart: agreement.restart && { ...agreement.restart, notification: false } };

  test('follows a lost connection, and a NOTIFICATION only where both sides said so', () => {
    const kinds = (of: Agreement) =>
      [
        { type: 'connectionLost', error: 'ECONNRESET' },
        { type: 'superseded' },
        { type: 'notificationReceived', notification: notification(6, 2) },
        { type: 'notificationSent', notification: notification(4, 0) },
        { type: 'sendHoldTimerExpired' },
        { type: 'notificationReceived', notification: notification(6, 9) },
        { type: 'notificationSent', notification: notification(6, 9) },
      ].map((reason) => retentionAfter(reason as never, of).kind);
    assert.deepEqual(kinds(agreement), ['stale', 'stale', 'stale', 'stale', 'stale', 'none', 'none']);
    assert.deepEqual(kinds(old), ['stale', 'stale', 'none', 'none', 'none', 'none', 'none']);
  });
});
