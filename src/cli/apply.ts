import { isDeepStrictEqual } from 'node:util';
import { Command } from 'commander';
import type { IPPool } from '../store/kinds/ipPool.ts';
import { type KindDefinition, unheededIn } from '../store/kinds/kind.ts';
import { definitionOf, type Kind, type ObjectOf } from '../store/kinds/registry.ts';
import { isStoreError, keyOf, keyText, type Store } from '../store/store.ts';
import { readManifests } from './manifests.ts';
import { inStore, type StoreOptions, withStore } from './options.ts';
import { guardPool } from './poolGuard.ts';
import { print } from './print.ts';

const ATTEMPTS = 5;

/** `tombolo apply -f`: makes the store say what the files say. Where one object is invalid, none is written. */
export function applyCommand(): Command {
  return withStore(new Command('apply'))
    .description('create objects, or bring them up to date')
    .requiredOption('-f, --filename <path...>', 'files, directories, or - for standard input')
    .option('-n, --namespace <name>', 'for objects that name none', 'default')
    .action(async (options: StoreOptions & { filename: string[]; namespace: string }) => {
      const manifests = readManifests(options.filename, options.namespace);
      await inStore({ ...options, create: true }, async (store) => {
        for (const { object } of manifests) {
          if (object.kind === 'IPPool') await guardPool(store, object.metadata.name, object as IPPool);
          const done = await apply(store, object);
          warn(object);
          print(`${object.kind.toLowerCase()}/${keyText(keyOf(object))} ${done}\n`);
        }
      });
    });
}

/** Of what is written and has no effect. */
function warn(object: ObjectOf<Kind>): void {
  const definition = definitionOf(object.kind as Kind) as KindDefinition<string, unknown>;
  for (const line of unheededIn(definition, object)) process.stderr.write(`warning: ${line}\n`);
}

type Outcome = 'created' | 'updated' | 'unchanged';

/** Replaces everything but the metadata that is the store's; others who write at the same time are waited for. */
async function apply(store: Store, object: ObjectOf<Kind>): Promise<Outcome> {
  for (let left = ATTEMPTS; ; left--) {
    try {
      const stored = await existing(store, object);
      if (!stored) {
        await store.create(object);
        return 'created';
      }
      return await bringUpToDate(store, stored, object);
    } catch (error) {
      if (left === 0 || !isStoreError(error, 'Conflict', 'AlreadyExists', 'NotFound')) throw error;
    }
  }
}

async function existing(store: Store, object: ObjectOf<Kind>): Promise<ObjectOf<Kind> | undefined> {
  try {
    return await store.get(object.kind as Kind, keyOf(object));
  } catch (error) {
    // A file that is no object may be replaced by one.
    if (isStoreError(error, 'NotFound', 'Invalid')) return undefined;
    throw error;
  }
}

async function bringUpToDate(store: Store, stored: ObjectOf<Kind>, wanted: ObjectOf<Kind>): Promise<Outcome> {
  const { status: storedStatus, ...storedRest } = parts(stored);
  const { status = storedStatus, ...wantedRest } = parts(wanted);
  const sameRest = isDeepStrictEqual(storedRest, wantedRest);
  const sameStatus = isDeepStrictEqual(storedStatus, status);
  if (sameRest && sameStatus) return 'unchanged';
  const { labels, annotations, ...given } = stored.metadata;
  const named = {
    ...(wanted.metadata.labels && { labels: wanted.metadata.labels }),
    ...(wanted.metadata.annotations && { annotations: wanted.metadata.annotations }),
  };
  const next = {
    ...wanted,
    ...(status !== undefined && { status }),
    metadata: { ...given, ...named },
  } as ObjectOf<Kind>;
  const updated = sameRest ? stored : await store.update(next);
  // A Kubernetes API takes the status only by itself.
  if (!isDeepStrictEqual(parts(updated).status, status)) {
    await store.updateStatus({ ...updated, status } as ObjectOf<Kind>);
  }
  return 'updated';
}

/** What people write: labels, annotations, and everything beside the metadata. */
function parts({ metadata, apiVersion: _, kind: __, ...body }: ObjectOf<Kind>): Record<string, unknown> {
  const { labels = {}, annotations = {} } = metadata;
  return { labels, annotations, ...body };
}
