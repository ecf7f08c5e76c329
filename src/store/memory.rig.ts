import { randomUUID } from 'node:crypto';
import { EventLog } from './directory/eventLog.ts';
import { isOver, isProtected, marked } from './finalizers.ts';
import { describe, type Kind, type ObjectOf, parseObject } from './kinds/registry.ts';
import { selector } from './selection.ts';
import {
  type Key,
  keyOf,
  keyText,
  type ObjectList,
  type Preconditions,
  type Selection,
  type Store,
  StoreError,
  type StoreReason,
} from './store.ts';

/** A store in memory for models: every call has taken effect before its promise is returned. */
export class MemoryStore implements Store {
  readonly location = 'memory';
  readonly #kinds = new Map<Kind, Shelf>();
  #version = 0;

  async list<K extends Kind>(kind: K, selection: Selection = {}) {
    const { objects, log } = this.#shelf(kind);
    const items = [...objects.values()]
      .filter(selector(kind, selection))
      .sort((a, b) => (keyText(keyOf(a)) < keyText(keyOf(b)) ? -1 : 1)) as ObjectOf<K>[];
    return { items, resourceVersion: log.version } satisfies ObjectList<ObjectOf<K>>;
  }

  watch<K extends Kind>(kind: K, resourceVersion: string, signal: AbortSignal, selection: Selection = {}) {
    const log = this.#shelf(kind).log as unknown as EventLog<ObjectOf<K>>;
    return log.after(resourceVersion, signal, selector(kind, selection));
  }

  async get<K extends Kind>(kind: K, key: Key): Promise<ObjectOf<K>> {
    return this.#stored('get', kind, key) as ObjectOf<K>;
  }

  async create<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    const { objects } = this.#shelf(object.kind as Kind);
    if (objects.has(keyText(keyOf(object)))) refuse('AlreadyExists', `create ${describe(object)}`);
    const given = { uid: randomUUID(), creationTimestamp: new Date(0).toISOString() };
    return this.#put({ ...object, metadata: { ...object.metadata, ...given } });
  }

  async update<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    const { uid, creationTimestamp, deletionTimestamp } = this.#expect(object).metadata;
    const given = {
      ...(uid && { uid }),
      ...(creationTimestamp && { creationTimestamp }),
      ...(deletionTimestamp && { deletionTimestamp }),
    };
    const next = this.#put({ ...object, metadata: { ...object.metadata, ...given } });
    if (isOver(next)) this.#remove(next);
    return next;
  }

  async updateStatus<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    const { status } = object as { status?: unknown };
    return this.#put({ ...(this.#expect(object) as T), status });
  }

  async delete(kind: Kind, key: Key, { uid, resourceVersion }: Preconditions = {}): Promise<void> {
    const object = this.#stored('delete', kind, key);
    const { metadata } = object;
    if ((uid ?? metadata.uid) !== metadata.uid) refuse('Conflict', `delete ${describe(object)}`);
    if ((resourceVersion ?? metadata.resourceVersion) !== metadata.resourceVersion) {
      refuse('Conflict', `delete ${describe(object)}`);
    }
    if (isProtected(object)) this.#put(marked(object, new Date(0)));
    else this.#remove(object);
  }

  problems(): string[] {
    return [];
  }

  async close(): Promise<void> {}

  #expect(object: ObjectOf<Kind>): ObjectOf<Kind> {
    const stored = this.#stored('update', object.kind as Kind, keyOf(object));
    if (object.metadata.resourceVersion === undefined) refuse('Invalid', `update ${describe(object)}`);
    if (object.metadata.resourceVersion !== stored.metadata.resourceVersion) {
      refuse('Conflict', `update ${describe(object)}`);
    }
    return stored;
  }

  #put<T extends ObjectOf<Kind>>(object: T): T {
    const next = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    try {
      parseObject(next);
    } catch (error) {
      throw new StoreError('Invalid', String(error), { cause: error });
    }
    const { objects, log } = this.#shelf(object.kind as Kind);
    const before = objects.get(keyText(keyOf(next)));
    objects.set(keyText(keyOf(next)), next);
    log.append(before ? { type: 'modified', before, object: next } : { type: 'added', object: next });
    return next;
  }

  #remove(object: ObjectOf<Kind>): void {
    const { objects, log } = this.#shelf(object.kind as Kind);
    objects.delete(keyText(keyOf(object)));
    log.append({ type: 'deleted', object });
  }

  #stored(verb: string, kind: Kind, key: Key): ObjectOf<Kind> {
    return (
      this.#shelf(kind).objects.get(keyText(key)) ?? refuse('NotFound', `${verb} ${kind} ${keyText(key)}`)
    );
  }

  #shelf(kind: Kind): Shelf {
    const shelf = this.#kinds.get(kind) ?? { objects: new Map(), log: new EventLog() };
    this.#kinds.set(kind, shelf);
    return shelf;
  }
}

interface Shelf {
  readonly objects: Map<string, ObjectOf<Kind>>;
  readonly log: EventLog<ObjectOf<Kind>>;
}

function refuse(reason: StoreReason, what: string): never {
  throw new StoreError(reason, `Cannot ${what}: ${reason}`);
}
