import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, statSync, unlinkSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { because, messageOf } from '../../errors.ts';
import { hasCode } from '../../ffi/systemError.ts';
import { isOver, isProtected, marked } from '../finalizers.ts';
import {
  definitionOf,
  describe,
  InvalidObject,
  isKind,
  KIND_NAMES,
  type Kind,
  type ObjectOf,
  parseObject,
} from '../kinds/registry.ts';
import { selector } from '../selection.ts';
import {
  type Key,
  keyOf,
  keyText,
  type ObjectList,
  type Preconditions,
  type Selection,
  type Store,
  StoreError,
  type WatchEvent,
} from '../store.ts';
import { pathOf, readObject, writeObject } from './file.ts';
import { KindDirectory } from './kindDirectory.ts';
import { withLock } from './lock.ts';
import { watchFiles } from './watcher.ts';

export interface DirectoryOptions {
  /** Makes the directory if there is none; otherwise that is an error. */
  readonly create?: boolean;
  /** Told of each file that cannot be accepted, once per fault. */
  readonly report?: (problem: string) => void;
}

/**
 * A store in files: `DIR/<Kind>/[<namespace>/]<name>.yaml`. What people drop there counts like what is
 * written through this interface, by any number of processes at a time. A file that is invalid counts for
 * nothing: its last valid version stays in force for those who have seen it.
 *
 * @throws {StoreError} `Unavailable` if there is no such directory.
 */
export function openDirectoryStore(root: string, options: DirectoryOptions = {}): Store {
  if (options.create) mkdirSync(root, { recursive: true });
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    throw new StoreError(
      'Unavailable',
      `Cannot open store: no such directory (value ${JSON.stringify(root)})`,
    );
  }
  return new DirectoryStore(root, options.report ?? (() => {}));
}

class DirectoryStore implements Store {
  readonly location: string;
  readonly #root: string;
  readonly #report: (problem: string) => void;
  readonly #kinds = new Map<Kind, KindDirectory<Kind>>();
  readonly #watching = new Map<Kind, ReturnType<typeof watchFiles>>();
  #strangers = new Set<string>();

  constructor(root: string, report: (problem: string) => void) {
    this.#root = root;
    this.#report = report;
    this.location = `directory:${root}`;
  }

  async list<K extends Kind>(kind: K, selection: Selection = {}) {
    const selected = selector(kind, selection);
    const directory = this.#directory(kind);
    await this.#scan(directory);
    const items = directory
      .objects()
      .filter(selected)
      .sort((a, b) => (keyText(keyOf(a)) < keyText(keyOf(b)) ? -1 : 1));
    return { items, resourceVersion: directory.log.version } satisfies ObjectList<ObjectOf<K>>;
  }

  async *watch<K extends Kind>(
    kind: K,
    resourceVersion: string,
    signal: AbortSignal,
    selection: Selection = {},
  ): AsyncGenerator<WatchEvent<ObjectOf<K>>> {
    const selected = selector(kind, selection);
    const directory = this.#directory(kind);
    if (!this.#watching.has(kind)) {
      const failed = (error: unknown) => this.#report(messageOf(because(`watch ${directory.path}`, error)));
      const watched = {
        directories: () => directory.directories(),
        refresh: (paths: Iterable<string>) => directory.refresh(paths),
        scan: () => this.#scan(directory),
      };
      this.#watching.set(kind, watchFiles(this.#root, watched, failed));
    }
    yield* directory.log.after(resourceVersion, signal, selected);
  }

  async get<K extends Kind>(kind: K, key: Key): Promise<ObjectOf<K>> {
    const directory = this.#directory(kind);
    const path = this.#path(kind, key);
    await directory.refresh([path]);
    const { object, problem } = directory.at(path) ?? {};
    if (object) return object;
    if (problem) throw new StoreError('Invalid', problem);
    throw notFound('get', kind, key);
  }

  async create<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    const kind = kindOf(object);
    return this.#write(kind, keyOf(object), (stored) => {
      if (stored)
        throw new StoreError('AlreadyExists', `Cannot create ${describe(object)}: it exists already`);
      const given = { uid: randomUUID(), creationTimestamp: new Date().toISOString(), generation: 1 };
      return { ...object, metadata: { ...object.metadata, ...given } };
    });
  }

  update<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    return this.#replace(object, (stored) => {
      const { uid, creationTimestamp, deletionTimestamp, generation = 1 } = stored.metadata;
      const given = {
        ...(uid !== undefined && { uid }),
        ...(creationTimestamp !== undefined && { creationTimestamp }),
        ...(deletionTimestamp !== undefined && { deletionTimestamp }),
        generation: isDeepStrictEqual(specOf(object), specOf(stored)) ? generation : generation + 1,
      };
      return { ...object, metadata: { ...object.metadata, ...given } };
    });
  }

  updateStatus<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    const status = (object as { status?: unknown }).status;
    return this.#replace(object, (stored) => ({ ...stored, status }));
  }

  async delete(kind: Kind, key: Key, preconditions: Preconditions = {}): Promise<void> {
    const directory = this.#directory(kind);
    const path = this.#path(kind, key);
    await withLock(this.#root, async () => {
      const stored = this.#read(kind, path);
      if (preconditions.uid !== undefined || preconditions.resourceVersion !== undefined) {
        const { metadata } = stored ?? {};
        if (!metadata) throw notFound('delete', kind, key);
        const { uid = metadata.uid, resourceVersion = metadata.resourceVersion } = preconditions;
        if (uid !== metadata.uid || resourceVersion !== metadata.resourceVersion) {
          throw new StoreError('Conflict', `Cannot delete ${kind} ${keyText(key)}: it has changed since`);
        }
      }
      try {
        if (stored && isProtected(stored)) writeObject(path, marked(stored, new Date()));
        else unlinkSync(path);
      } catch (error) {
        throw hasCode(error, 'ENOENT', 'ENOTDIR') ? notFound('delete', kind, key) : error;
      }
      await directory.refresh([path]);
    });
  }

  problems(kind?: Kind): string[] {
    if (kind !== undefined) return this.#kinds.get(kind)?.problems() ?? [];
    return [...[...this.#kinds.values()].flatMap((kind) => kind.problems()), ...this.#strangers];
  }

  async close(): Promise<void> {
    for (const watching of this.#watching.values()) watching.close();
    this.#watching.clear();
  }

  #replace<T extends ObjectOf<Kind>>(object: T, successor: (stored: T) => T): Promise<T> {
    const kind = kindOf(object);
    const { resourceVersion } = object.metadata;
    if (resourceVersion === undefined) {
      throw new StoreError(
        'Invalid',
        `Cannot update ${describe(object)}: metadata.resourceVersion is required`,
      );
    }
    return this.#write(kind, keyOf(object), (stored) => {
      if (!stored) throw notFound('update', kind, keyOf(object));
      if (stored.metadata.resourceVersion !== resourceVersion) {
        throw new StoreError(
          'Conflict',
          `Cannot update ${describe(object)}: it has changed since it was read`,
        );
      }
      return successor(stored);
    });
  }

  async #write<T extends ObjectOf<Kind>>(
    kind: Kind,
    key: Key,
    successor: (stored: T | undefined) => T,
  ): Promise<T> {
    const directory = this.#directory(kind);
    const path = this.#path(kind, key);
    return withLock(this.#root, async () => {
      const next = successor(this.#read(kind, path) as T | undefined);
      validate(next);
      if (isOver(next)) unlinkSync(path);
      else writeObject(path, next);
      await directory.refresh([path]);
      return isOver(next) ? next : (readObject(path, kind) as T);
    });
  }

  /** What the file holds now; an invalid file counts as none, so that it can be replaced. */
  #read(kind: Kind, path: string): ObjectOf<Kind> | undefined {
    try {
      return readObject(path, kind);
    } catch (error) {
      if (error instanceof InvalidObject || hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  }

  async #scan(directory: KindDirectory<Kind>): Promise<void> {
    try {
      await directory.scan();
      this.#reportStrangers();
    } catch (error) {
      throw new StoreError('Unavailable', messageOf(because(`read ${directory.path}`, error)), {
        cause: error,
      });
    }
  }

  #reportStrangers(): void {
    const strangers = new Set(
      readdirSync(this.#root, { withFileTypes: true })
        .filter(({ name }) => !name.startsWith('.') && !isKind(name))
        .map((entry) =>
          entry.isDirectory()
            ? `Cannot accept ${this.#root}/${entry.name}: expected a directory per kind, one of ${KIND_NAMES.join(', ')}`
            : `Cannot accept ${this.#root}/${entry.name}: expected ${this.#root}/<Kind>/[<namespace>/]<name>.yaml`,
        ),
    );
    for (const stranger of strangers) if (!this.#strangers.has(stranger)) this.#report(stranger);
    this.#strangers = strangers;
  }

  #directory<K extends Kind>(kind: K): KindDirectory<K> {
    let directory = this.#kinds.get(kind);
    if (!directory) {
      directory = new KindDirectory<Kind>(this.#root, kind, this.#report);
      this.#kinds.set(kind, directory);
    }
    return directory as unknown as KindDirectory<K>;
  }

  /** Names come from people: one that would lead out of the directory must not reach the file system. */
  #path(kind: Kind, { namespace, name }: Key): string {
    for (const part of [name, ...(namespace === undefined ? [] : [namespace])]) {
      if (part === '' || part.startsWith('.') || part.includes('/')) {
        throw new StoreError(
          'Invalid',
          `Cannot name ${kind}: expected a name (value ${JSON.stringify(part)})`,
        );
      }
    }
    const { namespaced } = definitionOf(kind);
    if (namespaced !== (namespace !== undefined)) {
      const reason = namespaced ? 'a namespace is required' : 'it has no namespace';
      throw new StoreError('Invalid', `Cannot name ${kind} ${name}: ${reason}`);
    }
    return pathOf(this.#root, kind, { namespace, name });
  }
}

function kindOf(object: ObjectOf<Kind>): Kind {
  validate(object);
  return object.kind as Kind;
}

function validate(object: unknown): void {
  try {
    parseObject(object);
  } catch (error) {
    throw new StoreError('Invalid', messageOf(error), { cause: error });
  }
}

function specOf({ metadata: _, ...rest }: ObjectOf<Kind>): unknown {
  const { status: __, ...spec } = rest as Record<string, unknown>;
  return spec;
}

function notFound(verb: string, kind: Kind, key: Key): StoreError {
  return new StoreError('NotFound', `Cannot ${verb} ${kind} ${keyText(key)}: there is none`);
}
