import type { StoredObject } from './kinds/kind.ts';
import type { Kind, ObjectOf } from './kinds/registry.ts';

/**
 * Kubernetes-shaped objects, wherever they are kept. Objects handed out are shared: never change one, write
 * a copy. A `resourceVersion` is opaque; equal ones mean that nothing has changed.
 */
export interface Store {
  /** What the store is, for messages: `directory:/etc/tombolo`. */
  readonly location: string;

  /** @throws {StoreError} `Invalid` if the kind cannot be selected so. */
  list<K extends Kind>(kind: K, selection?: Selection): Promise<ObjectList<ObjectOf<K>>>;

  /**
   * What happens to the objects of a kind after the list that `resourceVersion` came with. Ends when
   * `signal` says so, or where the connection does: start again from the last version seen. After `expired`
   * nothing follows: list again. An object that is no longer of the selection, having been changed, is told as
   * deleted, and one that has become so as added.
   */
  watch<K extends Kind>(
    kind: K,
    resourceVersion: string,
    signal: AbortSignal,
    selection?: Selection,
  ): AsyncIterable<WatchEvent<ObjectOf<K>>>;

  /** @throws {StoreError} `NotFound`; `Invalid` if what is stored is no object of this kind. */
  get<K extends Kind>(kind: K, key: Key): Promise<ObjectOf<K>>;

  /**
   * The stored object, with the metadata that storing has given it. Whether a status is taken along is up
   * to the store; {@link updateStatus} always writes it.
   *
   * @throws {StoreError} `AlreadyExists`, `Invalid`.
   */
  create<T extends ObjectOf<Kind>>(object: T): Promise<T>;

  /**
   * Replaces the object that `metadata.resourceVersion` was read from, and no later one.
   *
   * @throws {StoreError} `Conflict` if it has changed since, `NotFound`, `Invalid`.
   */
  update<T extends ObjectOf<Kind>>(object: T): Promise<T>;

  /** As {@link update}, of the status alone. */
  updateStatus<T extends ObjectOf<Kind>>(object: T): Promise<T>;

  /** @throws {StoreError} `NotFound`; `Conflict` if `preconditions` do not hold. */
  delete(kind: Kind, key: Key, preconditions?: Preconditions): Promise<void>;

  /** What is stored but counts for nothing, a line each; of one kind only, where one is named. */
  problems(kind?: Kind): readonly string[];

  close(): Promise<void>;
}

/** Which objects of a kind are meant; all of them, where nothing is said. */
export interface Selection {
  readonly namespace?: string;
  /** Values of fields, as field selectors of the Kubernetes API: `{ 'spec.nodeName': 'node-1' }`. */
  readonly fields?: Readonly<Record<string, string>>;
}

export interface Key {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

export interface ObjectList<T> {
  readonly items: readonly T[];
  /** Where a watch goes on. */
  readonly resourceVersion: string;
}

export type WatchEvent<T> =
  | { readonly type: 'added' | 'modified' | 'deleted'; readonly object: T; readonly resourceVersion: string }
  /** Nothing happened, but a watch may now go on from here. */
  | { readonly type: 'bookmark'; readonly resourceVersion: string }
  /** Too much has happened since; only a new list tells the present. */
  | { readonly type: 'expired'; readonly reason: string };

export type StoreReason = 'NotFound' | 'AlreadyExists' | 'Conflict' | 'Invalid' | 'Unavailable';

/** A store's refusal; callers branch on {@link reason}. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly reason: StoreReason;

  constructor(reason: StoreReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

export function isStoreError(error: unknown, ...reasons: StoreReason[]): error is StoreError {
  return error instanceof StoreError && reasons.includes(error.reason);
}

export function keyOf({ metadata }: StoredObject): Key {
  return { namespace: metadata.namespace, name: metadata.name };
}

/** `default/web`, or `node-1` where there is no namespace: unique among the objects of a kind. */
export function keyText({ namespace, name }: Key): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}
