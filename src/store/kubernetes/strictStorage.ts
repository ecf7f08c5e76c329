import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { definitionOf, type Kind } from '../kinds/registry.ts';
import { isRecord } from '../schema.ts';
import type { Place } from './apiPath.ts';
import { CUSTOM_KINDS, customResourceDefinition } from './customResource.ts';
import { Refused } from './refused.ts';
import { violations } from './structuralSchema.ts';

export interface Stored {
  apiVersion: string;
  kind: string;
  metadata: Record<string, unknown> & { name: string; namespace?: string };
  status?: unknown;
  [field: string]: unknown;
}

export interface Happened {
  revision: number;
  kind: Kind;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: Stored;
  before: Stored | undefined;
}

/**
 * What a Kubernetes API server stores, and under which conditions it lets anybody change it: compare-and-swap, status apart from
 * the rest, finalizers, and our kinds as our CustomResourceDefinitions have it.
 */
export class StrictStorage {
  readonly #objects = new Map<string, Stored>();
  readonly #happened: () => void;
  #history: Happened[] = [];
  #revision = 1000;
  #oldest = 1000;

  /** @param happened Called after each change. */
  constructor(happened: () => void) {
    this.#happened = happened;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Of a kind, by name. */
  all(kind: Kind): Stored[] {
    return [...this.#objects]
      .filter(([key]) => key.startsWith(`${kind} `))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
  }

  /** What happened after a revision, the oldest first; undefined where that is forgotten. */
  since(revision: number): readonly Happened[] | undefined {
    if (revision < this.#oldest) return undefined;
    const seen = this.#history.findLastIndex((each) => each.revision <= revision);
    return this.#history.slice(seen + 1);
  }

  /** Forgets all history, as etcd's compaction does. */
  compact(): void {
    this.#history = [];
    this.#oldest = this.#revision;
  }

  get(place: Place): Stored {
    const stored = this.#objects.get(keyOf(place, place.name));
    if (!stored) throw new Refused(404, 'NotFound', `${place.plural} "${place.name}" not found`);
    return stored;
  }

  create(place: Place, { status: _, ...object }: Stored): Stored {
    const { kind, namespace } = place;
    const { apiVersion } = definitionOf(kind);
    if (object.apiVersion !== apiVersion || object.kind !== kind || object.metadata.namespace !== namespace) {
      throw new Refused(400, 'BadRequest', 'the object does not match the path');
    }
    if (object.metadata.resourceVersion !== undefined) {
      throw new Refused(400, 'BadRequest', 'resourceVersion should not be set on objects to be created');
    }
    expectValid(kind, object);
    const key = keyOf(place, object.metadata.name);
    if (this.#objects.has(key)) {
      throw new Refused(409, 'AlreadyExists', `${kind} "${object.metadata.name}" already exists`);
    }
    const given = { uid: randomUUID(), creationTimestamp: new Date().toISOString(), generation: 1 };
    return this.#happen('ADDED', key, { ...object, metadata: { ...object.metadata, ...given } });
  }

  /** Of the status alone, or of all but the status. */
  update(place: Place, object: Stored): Stored {
    const key = keyOf(place, place.name);
    const stored = this.get(place);
    const { resourceVersion, uid } = object.metadata;
    if (
      resourceVersion !== stored.metadata.resourceVersion ||
      (uid ?? stored.metadata.uid) !== stored.metadata.uid
    ) {
      throw new Refused(409, 'Conflict', `the object has been modified (${stored.metadata.name})`);
    }
    expectValid(object.kind as Kind, object);
    if (place.subresource === 'status')
      return this.#happen('MODIFIED', key, { ...stored, status: object.status });
    expectNoNewFinalizers(stored, object);
    const { status: _, ...rest } = object;
    const next: Stored = { ...rest, ...(stored.status !== undefined && { status: stored.status }) };
    const { generation, creationTimestamp, deletionTimestamp } = stored.metadata;
    const changed = !isDeepStrictEqual(next.spec, stored.spec);
    const given = {
      uid: stored.metadata.uid,
      creationTimestamp,
      ...(deletionTimestamp !== undefined && { deletionTimestamp }),
      generation: Number(generation) + (changed ? 1 : 0),
    };
    const written: Stored = { ...next, metadata: { ...next.metadata, ...given } };
    const over = deletionTimestamp !== undefined && !isProtected(written);
    return this.#happen(over ? 'DELETED' : 'MODIFIED', key, written);
  }

  /** @param options DeleteOptions. */
  delete(place: Place, options: unknown): void {
    const key = keyOf(place, place.name);
    const stored = this.get(place);
    const wanted = isRecord(options) && isRecord(options.preconditions) ? options.preconditions : {};
    for (const name of ['uid', 'resourceVersion']) {
      if (wanted[name] !== undefined && wanted[name] !== stored.metadata[name]) {
        throw new Refused(409, 'Conflict', `precondition failed: ${name}`);
      }
    }
    const { deletionTimestamp = new Date().toISOString() } = stored.metadata;
    const marked = { ...stored, metadata: { ...stored.metadata, deletionTimestamp } };
    if (isProtected(stored)) this.#happen('MODIFIED', key, marked);
    else this.#happen('DELETED', key, stored);
  }

  #happen(type: Happened['type'], key: string, object: Stored): Stored {
    const resourceVersion = String(++this.#revision);
    const next: Stored = { ...object, metadata: { ...object.metadata, resourceVersion } };
    const before = this.#objects.get(key);
    if (type === 'DELETED') this.#objects.delete(key);
    else this.#objects.set(key, next);
    this.#history.push({ revision: this.#revision, kind: next.kind as Kind, type, object: next, before });
    this.#happened();
    return next;
  }
}

function keyOf({ kind, namespace }: Place, name: string | undefined): string {
  return `${kind} ${namespace ?? ''}/${name ?? ''}`;
}

const CUSTOM = new Map(
  CUSTOM_KINDS.flatMap((kind) => customResourceDefinition(kind).spec.versions.map((one) => [kind, one])),
);

export function hasStatus(kind: Kind): boolean {
  const version = CUSTOM.get(kind);
  return version === undefined || 'subresources' in version;
}

function expectValid(kind: Kind, object: Stored): void {
  const version = CUSTOM.get(kind);
  const [violation] = version ? violations(version.schema.openAPIV3Schema, object) : [];
  if (violation === undefined) return;
  throw new Refused(422, 'Invalid', `${kind} "${object.metadata.name}" is invalid: ${violation}`);
}

/** Whether somebody has something to do before the object may go. */
function isProtected(object: Stored): boolean {
  return finalizersOf(object).length > 0;
}

function finalizersOf({ metadata: { finalizers } }: Stored): readonly unknown[] {
  return Array.isArray(finalizers) ? finalizers : [];
}

function expectNoNewFinalizers(stored: Stored, object: Stored): void {
  if (stored.metadata.deletionTimestamp === undefined) return;
  const before = finalizersOf(stored);
  if (finalizersOf(object).every((name) => before.includes(name))) return;
  const reason = 'metadata.finalizers: no new finalizers can be added if the object is being deleted';
  throw new Refused(422, 'Invalid', `${object.kind} "${object.metadata.name}" is invalid: ${reason}`);
}
