import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Borrowing,
  type ClaimingPod,
  type ClaimView,
  hasPod,
  reasonNotToBorrow,
  reasonToEnd,
  reasonToWait,
  wishOf,
} from './claim.ts';

const OURS = 'network.tombolo.dev/release-policy';
const SET = { kind: 'StatefulSet', name: 'db', uid: 'set-1' };

function pod(annotations: Record<string, string>, change: Partial<ClaimingPod> = {}): ClaimingPod {
  return { namespace: 'shop', name: 'db-0', uid: 'pod-1', controller: SET, annotations, ...change };
}

function claim(change: Partial<ClaimView> = {}): ClaimView {
  return {
    name: 'db-0',
    policy: 'Immutable',
    ttlSeconds: undefined,
    owner: SET,
    holder: undefined,
    podUID: 'pod-1',
    lent: false,
    releasedAt: 0,
    ...change,
  };
}

test("a pod asks for a fixed address by annotation, ours or galaxy's, and a typo is an error", () => {
  assert.equal(wishOf(pod({})), undefined);
  const wish = { policy: 'Immutable', owner: SET, ttlSeconds: undefined };
  assert.deepEqual(wishOf(pod({ [OURS]: 'immutable' })), wish);
  assert.deepEqual(wishOf(pod({ 'k8s.v1.cni.galaxy.io/release-policy': 'never' }))?.policy, 'Never');
  assert.deepEqual(wishOf(pod({ 'k8s.v1.cni.galaxy.io/release-policy': '' }))?.policy, 'Pod');
  assert.throws(
    () => wishOf(pod({ [OURS]: 'imutable' })),
    /must be pod, immutable or never \(value "imutable"\)/,
  );
  assert.throws(() => wishOf(pod({ [OURS]: 'constructor' })), /must be pod, immutable or never/);
  const ttl = { 'network.tombolo.dev/release-after-seconds': '600' };
  assert.equal(wishOf(pod({ [OURS]: 'never', ...ttl }))?.ttlSeconds, 600);
});

test('a pod without controller owns its claim, and one whose name never comes again may have none', () => {
  const alone = pod({ [OURS]: 'immutable' }, { controller: undefined });
  assert.deepEqual(wishOf(alone)?.owner, { kind: 'Pod', name: 'db-0', uid: 'pod-1' });
  const web = pod({ [OURS]: 'never' }, { controller: { kind: 'ReplicaSet', name: 'web-5d' } });
  assert.throws(
    () => wishOf(web),
    /pods of a ReplicaSet have a new name each time; bind its namespace to a pool/,
  );
});

test('nobody takes the address of a container that has not let go, unless its node is proved dead', () => {
  const asker = { node: 'b', container: 'new' };
  const held = claim({ holder: { node: 'a', container: 'old' } });
  const wait = (node: 'present' | 'gone' | 'out of service') => reasonToWait(held, asker, node, () => false);
  assert.match(wait('present') ?? '', /^container old on node a has not let go of it: .* taint it/);
  assert.match(
    wait('gone') ?? '',
    /^container old was on node a, which is gone; the operator takes it for dead/,
  );
  assert.equal(wait('out of service'), undefined);
  assert.equal(
    reasonToWait(claim(), asker, 'present', () => true),
    undefined,
  );
});

test('on its own node a container waits for the one before it, and for itself not', () => {
  const held = claim({ holder: { node: 'a', container: 'old' } });
  const wait = (container: string, live: string[]) =>
    reasonToWait(held, { node: 'a', container }, 'present', (one) => live.includes(one));
  assert.match(wait('new', ['old']) ?? '', /container old of this node has not let go/);
  assert.equal(wait('new', []), undefined);
  assert.equal(wait('old', ['old']), undefined);
});

test('a claim ends as its policy says, and only once nobody holds it', () => {
  const there = { pod: 'pod-1', owner: 'present' } as const;
  const gone = { pod: undefined, owner: 'absent' } as const;
  const ends = (change: Partial<ClaimView>, around: Parameters<typeof reasonToEnd>[1], now = 0) =>
    reasonToEnd(claim(change), around, now);
  assert.match(ends({ policy: 'Pod' }, gone) ?? '', /pod db-0 is gone/);
  assert.match(ends({ policy: 'Pod' }, { ...there, pod: 'pod-2' }) ?? '', /has been made anew/);
  assert.equal(ends({ policy: 'Pod' }, there), undefined);
  assert.match(ends({ policy: 'Immutable' }, gone) ?? '', /owner StatefulSet db is gone/);
  assert.equal(ends({ policy: 'Immutable' }, { pod: undefined, owner: 'present' }), undefined);
  assert.equal(ends({ policy: 'Immutable' }, { pod: undefined, owner: 'unknown' }), undefined);
  assert.equal(ends({ policy: 'Never' }, gone), undefined);
  for (const policy of ['Pod', 'Immutable', 'Never'] as const) {
    const holder = { node: 'a', container: 'c' };
    assert.equal(ends({ policy, holder, ttlSeconds: 0 }, gone), undefined, 'held');
    const written = { releasedAt: undefined, owner: { kind: 'StatefulSet', name: 'db' }, ttlSeconds: 0 };
    assert.equal(ends({ policy, ...written }, gone), undefined, 'never held');
  }
  const failed = {
    podUID: undefined,
    releasedAt: undefined,
    owner: { kind: 'Pod', name: 'db-0', uid: 'pod-1' },
  };
  assert.match(ends({ policy: 'Pod', ...failed }, gone) ?? '', /pod db-0 is gone/, 'its ADD came to nothing');
  assert.match(ends({ policy: 'Pod', ...failed }, { ...there, pod: 'pod-2' }) ?? '', /made anew/);
  assert.equal(ends({ policy: 'Pod', ...failed }, there), undefined);
});

test('an address that nobody holds is kept for ttlSeconds at most, and a clock set back keeps it longer', () => {
  const around = { pod: undefined, owner: 'present' } as const;
  const ends = (now: number) =>
    reasonToEnd(claim({ policy: 'Never', ttlSeconds: 300, releasedAt: 1_000_000 }), around, now);
  assert.equal(ends(1_299_999), undefined);
  assert.match(ends(1_300_000) ?? '', /nobody has held it for 300 s, and ttlSeconds is 300/);
  assert.equal(ends(0), undefined);
});

test('a StatefulSet has the pods of its ordinals, and one made anew has none of the old ones', () => {
  const has = (name: string, replicas: number, first = 0, uid = 'set-1') =>
    hasPod({ uid, replicas, first }, SET, name);
  assert.ok(has('db-2', 3));
  assert.ok(!has('db-3', 3));
  assert.ok(has('db-7', 3, 5) && !has('db-4', 3, 5));
  assert.ok(!has('db-0', 3, 0, 'set-2'));
  assert.ok(!hasPod(undefined, SET, 'db-0'));
});

test('an address is not borrowed where it would be black-holed', () => {
  const fine: Borrowing = {
    pool: { name: 'p', disableBGPExport: false, selectsNode: true },
    node: 'b',
    strictAffinity: false,
    routing: 'underlay',
    blockRouting: 'underlay',
    announces: true,
    onLink: false,
  };
  const pool = { name: 'p', disableBGPExport: false, selectsNode: true };
  assert.equal(reasonNotToBorrow(fine), undefined);
  const refusals: [Partial<Borrowing>, RegExp][] = [
    [{ pool: undefined }, /lies in no pool/],
    [{ strictAffinity: true }, /strictAffinity is true/],
    [{ pool: { ...pool, selectsNode: false } }, /pool p does not select node b/],
    [{ pool: { ...pool, disableBGPExport: true } }, /pool p has disableBGPExport/],
    [{ routing: 'overlay', blockRouting: 'underlay' }, /the node of its block is in the underlay/],
    [{ announces: false }, /BGP is off/],
    [{ onLink: true }, /a NIC has an address of its own link/],
  ];
  for (const [change, reason] of refusals)
    assert.match(reasonNotToBorrow({ ...fine, ...change }) ?? '', reason);
  const overlay = { ...fine, routing: 'overlay', blockRouting: 'overlay', announces: false } as const;
  assert.equal(reasonNotToBorrow(overlay), undefined, 'tunnels lead to it, and nobody is told by BGP');
});
