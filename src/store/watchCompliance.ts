import assert from 'node:assert/strict';
import { eventually } from '../eventually.rig.ts';
import type { Complies } from './compliance.rig.ts';
import { type Change, follow } from './follow.ts';
import type { ObjectOf } from './kinds/registry.ts';
import { pod, service, withPort } from './samples.rig.ts';
import { narrowed } from './selection.ts';

/** What those hear of objects who watch or follow them. */
export function watchCompliance(complies: Complies): void {
  complies(
    'a watch tells what happened since the list, in order, whoever did it',
    async ({ store, other }) => {
      const first = await store.create(service('web'));
      const { resourceVersion } = await other.list('Service');
      const second = await store.update(withPort(first, 8080));
      await store.create(service('api'));
      await store.delete('Service', { namespace: 'default', name: 'web' });
      const seen: string[] = [];
      const stop = new AbortController();
      for await (const event of other.watch('Service', resourceVersion, within(stop))) {
        if (event.type === 'bookmark' || event.type === 'expired') continue;
        seen.push(`${event.type} ${event.object.metadata.name}`);
        if (event.type === 'modified') assert.deepEqual(event.object.spec, second.spec);
        if (settled(seen)) stop.abort();
      }
      assert.ok(settled(seen), seen.join(', '));
    },
  );

  complies('a watch of a selection tells who enters and who leaves it, and of nobody else', async (rig) => {
    const { store, other } = rig;
    await store.create(pod('moving', undefined));
    const selection = { fields: { 'spec.nodeName': 'node-1' } };
    const { items, resourceVersion } = await other.list('Pod', selection);
    assert.deepEqual(items, []);
    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const event of other.watch('Pod', resourceVersion, within(stop), selection)) {
        if (event.type === 'bookmark' || event.type === 'expired') continue;
        const { metadata, spec, status } = event.object;
        seen.push([event.type, metadata.name, spec?.nodeName, status?.phase].join(' ').trim());
      }
    })();
    const key = { namespace: 'default', name: 'moving' };
    const step = async (nodeName: string, expected: number) => {
      const before = await store.get('Pod', key);
      await store.update({ ...before, spec: { ...before.spec, nodeName } });
      await store.create(pod(`other-${nodeName}-${expected}`, 'node-3'));
      // A client that looks only now and then would see two steps as one.
      await eventually(() => assert.equal(seen.length, expected));
    };
    await step('node-1', 1);
    await store.updateStatus({ ...(await store.get('Pod', key)), status: { phase: 'Running' } });
    await eventually(() => assert.equal(seen.length, 2));
    await step('node-2', 3);
    await step('node-1', 4);
    await store.delete('Pod', key);
    await eventually(() => assert.equal(seen.length, 5));
    stop.abort();
    await watching;
    assert.deepEqual(
      seen.map((line) => line.split(' ').slice(0, 2).join(' ')),
      ['added moving', 'modified moving', 'deleted moving', 'added moving', 'deleted moving'],
    );
    assert.equal(seen[1], 'modified moving node-1 Running');
  });

  complies('a follower of a selection knows the selected objects, and no others', async (rig) => {
    const { store, other } = rig;
    await store.create(pod('mine', 'node-1'));
    const known = new Set<string>();
    const stop = new AbortController();
    const own = narrowed(other, { fields: { 'spec.nodeName': 'node-1' } });
    const take = (change: Change<ObjectOf<'Pod'>>) => {
      if (change.type === 'interrupted') throw change.error;
      if (change.type === 'replaced') for (const { metadata } of change.objects) known.add(metadata.name);
      else if (change.type === 'applied') known.add(change.object.metadata.name);
      else known.delete(change.object.metadata.name);
    };
    const done = follow(own, 'Pod', take, stop.signal);
    await store.create(pod('theirs', 'node-2'));
    await store.create(pod('mine-too', 'node-1'));
    await eventually(() => assert.deepEqual([...known].sort(), ['mine', 'mine-too']));
    stop.abort();
    await done;
  });

  complies('a watch from a version nobody knows has expired', async ({ store }) => {
    await store.create(service('web'));
    const stop = new AbortController();
    for await (const event of store.watch('Service', '1', within(stop))) {
      if (event.type === 'expired') return;
    }
    assert.fail('the watch went on from a version that is not of this store');
  });

  complies('a follower ends with what is stored, however fast it changes', async ({ store, other }) => {
    const known = new Map<string, number | undefined>();
    const stop = new AbortController();
    const done = follow(other, 'Service', (change) => record(known, change), stop.signal);
    const expected = new Map<string, number | undefined>();
    for (let round = 0; round < 40; round++) {
      const name = `s${round % 5}`;
      const key = { namespace: 'default', name };
      const before = await store.get('Service', key).catch(() => undefined);
      if (!before) await store.create(service(name, 'default', 1000 + round));
      else if (round % 7 === 0) await store.delete('Service', key);
      else await store.update(withPort(before, 1000 + round));
      if (before && round % 7 === 0) expected.delete(name);
      else expected.set(name, 1000 + round);
    }
    await eventually(() => assert.deepEqual(sorted(known), sorted(expected)));
    stop.abort();
    await done;
  });
}

/** Steps between two looks may be seen as one, but the end is the same. */
function settled(seen: string[]): boolean {
  return seen.includes('added api') && seen.includes('deleted web');
}

function record(known: Map<string, number | undefined>, change: Change<ObjectOf<'Service'>>): void {
  const put = ({ metadata, spec }: ObjectOf<'Service'>) => known.set(metadata.name, spec.ports?.[0]?.port);
  if (change.type === 'interrupted') throw change.error;
  if (change.type === 'replaced') {
    known.clear();
    for (const object of change.objects) put(object);
  } else if (change.type === 'applied') put(change.object);
  else known.delete(change.object.metadata.name);
}

function sorted(map: Map<string, number | undefined>): [string, number | undefined][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

function within(stop: AbortController): AbortSignal {
  return AbortSignal.any([stop.signal, AbortSignal.timeout(10_000)]);
}
