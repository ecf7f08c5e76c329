import { Command, InvalidArgumentError } from 'commander';
import { definitionOf, type Kind } from '../store/kinds/registry.ts';
import { isStoreError, type Key, keyOf, keyText, type Store } from '../store/store.ts';
import { kindOrThrow } from './kindArgument.ts';
import { readManifests } from './manifests.ts';
import { guardNetwork } from './networkGuard.ts';
import { inStore, type StoreOptions, withStore } from './options.ts';
import { guardPool } from './poolGuard.ts';
import { print } from './print.ts';

interface Options extends StoreOptions {
  filename?: string[];
  namespace: string;
  ignoreNotFound?: boolean;
}

/** `tombolo delete KIND NAME…`, or the objects that files name. */
export function deleteCommand(): Command {
  return withStore(new Command('delete'))
    .description('delete objects')
    .argument('[kind]')
    .argument('[name...]')
    .option('-f, --filename <path...>', 'the objects that these files name')
    .option('-n, --namespace <name>', 'where the objects are', 'default')
    .option('--ignore-not-found', 'what is gone already is no failure')
    .action(async (kindName: string | undefined, names: string[], options: Options) => {
      const targets = targetsOf(kindName, names, options);
      await inStore(options, async (store) => {
        for (const { kind, key } of targets) {
          try {
            await guard(store, kind, key);
            await store.delete(kind, key);
            print(`${kind.toLowerCase()}/${keyText(key)} deleted\n`);
          } catch (error) {
            if (!(options.ignoreNotFound && isStoreError(error, 'NotFound'))) throw error;
          }
        }
      });
    });
}

/** @throws {Error} If what depends on the object is in use. */
async function guard(store: Store, kind: Kind, { name }: Key): Promise<void> {
  if (kind === 'IPPool') await guardPool(store, name, undefined);
  else if (kind === 'NodeNetwork') await guardNetwork(store, name);
}

function targetsOf(
  kindName: string | undefined,
  names: string[],
  { filename, namespace }: Options,
): { kind: Kind; key: Key }[] {
  if (filename) {
    if (kindName !== undefined)
      throw new InvalidArgumentError('Cannot delete: give a kind and names, or -f, not both');
    return readManifests(filename, namespace).map(({ object }) => ({
      kind: object.kind as Kind,
      key: keyOf(object),
    }));
  }
  if (kindName === undefined || names.length === 0) {
    throw new InvalidArgumentError('Cannot delete: give a kind and at least one name, or -f');
  }
  const kind = kindOrThrow(kindName);
  const { namespaced } = definitionOf(kind);
  return names.map((name) => ({ kind, key: { namespace: namespaced ? namespace : undefined, name } }));
}
