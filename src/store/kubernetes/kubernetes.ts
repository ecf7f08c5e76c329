import { messageOf } from '../../errors.ts';
import { definitionOf, type Kind, type ObjectOf, parseObject } from '../kinds/registry.ts';
import { isRecord } from '../schema.ts';
import { formatFields, selector } from '../selection.ts';
import {
  isStoreError,
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
import { type ApiClient, openApiClient } from './apiClient.ts';
import type { Connection } from './kubeconfig.ts';

/** Objects per page of a list: large lists must not stand in the server's memory, or ours, as one text. */
const PAGE = 500;

/** A watch ends by itself after this long, and is begun again where it stopped. */
const WATCH_SECONDS = 300;

/** The Kubernetes API as a store. */
export function openKubernetesStore(
  connection: Connection,
  report: (problem: string) => void = () => {},
): Store {
  return new KubernetesStore(openApiClient(connection), connection.server, report);
}

class KubernetesStore implements Store {
  readonly location: string;
  readonly #client: ApiClient;
  readonly #report: (problem: string) => void;
  /** By kind and key: objects the server accepted and we cannot, being older or newer than its schemas. */
  readonly #problems = new Map<string, string>();

  constructor(client: ApiClient, server: URL, report: (problem: string) => void) {
    this.#client = client;
    this.#report = report;
    this.location = `kubernetes:${server.origin}`;
  }

  async list<K extends Kind>(kind: K, selection: Selection = {}) {
    const items: ObjectOf<K>[] = [];
    const { path, query: narrow } = collection(kind, selection);
    for (let next = ''; ; ) {
      const query = { ...narrow, limit: String(PAGE), ...(next !== '' && { continue: next }) };
      const page = asList(await this.#client.ask({ method: 'GET', path, query }));
      items.push(...page.items.flatMap((item) => this.#accepted(kind, item) ?? []));
      if (page.next === '') {
        return { items, resourceVersion: page.resourceVersion } satisfies ObjectList<ObjectOf<K>>;
      }
      next = page.next;
    }
  }

  async *watch<K extends Kind>(
    kind: K,
    resourceVersion: string,
    signal: AbortSignal,
    selection: Selection = {},
  ): AsyncGenerator<WatchEvent<ObjectOf<K>>> {
    const { path, query: narrow } = collection(kind, selection);
    const query = {
      ...narrow,
      watch: 'true',
      resourceVersion,
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(WATCH_SECONDS),
    };
    const stream = this.#client.stream({ method: 'GET', path, query }, signal);
    try {
      for await (const line of stream) {
        if (signal.aborted) return;
        const event = this.#eventOf(kind, line);
        if (event) yield event;
        if (event?.type === 'expired') return;
      }
    } catch (error) {
      if (signal.aborted) return;
      // 410 Gone may also be the answer to the request itself.
      if (!isExpired(error)) throw error;
      yield { type: 'expired', reason: messageOf(error) };
    }
  }

  async get<K extends Kind>(kind: K, key: Key): Promise<ObjectOf<K>> {
    const object = await this.#client.ask({ method: 'GET', path: objectPath(kind, key) });
    return parsed<K>(kind, object);
  }

  async create<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    const { kind, key } = validated(object);
    const path = collectionPath(kind, key.namespace);
    return parsed(kind, await this.#client.ask({ method: 'POST', path, body: object })) as T;
  }

  update<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    return this.#put(object, '');
  }

  updateStatus<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    return this.#put(object, '/status');
  }

  async delete(kind: Kind, key: Key, preconditions: Preconditions = {}): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions };
    await this.#client.ask({ method: 'DELETE', path: objectPath(kind, key), body });
  }

  problems(kind?: Kind): string[] {
    return [...this.#problems].flatMap(([key, problem]) =>
      kind === undefined || key.startsWith(`${kind} `) ? [problem] : [],
    );
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async #put<T extends ObjectOf<Kind>>(object: T, subresource: string): Promise<T> {
    const { kind, key } = validated(object);
    if (object.metadata.resourceVersion === undefined) {
      const what = `${kind} ${keyText(key)}`;
      throw new StoreError('Invalid', `Cannot update ${what}: metadata.resourceVersion is required`);
    }
    const path = `${objectPath(kind, key)}${subresource}`;
    return parsed(kind, await this.#client.ask({ method: 'PUT', path, body: object })) as T;
  }

  #eventOf<K extends Kind>(kind: K, line: unknown): WatchEvent<ObjectOf<K>> | undefined {
    const { type, object } = isRecord(line) ? line : {};
    const resourceVersion = versionOf(object);
    switch (type) {
      case 'ADDED':
      case 'MODIFIED': {
        const accepted = this.#accepted(kind, object);
        if (!accepted) return { type: 'bookmark', resourceVersion };
        return { type: type === 'ADDED' ? 'added' : 'modified', object: accepted, resourceVersion };
      }
      case 'DELETED':
        this.#problems.delete(problemKey(kind, object));
        return { type: 'deleted', object: object as ObjectOf<K>, resourceVersion };
      case 'BOOKMARK':
        return { type: 'bookmark', resourceVersion };
      default:
        // An ERROR carries a Status: usually 410, and a new list is the cure for the others as well.
        return { type: 'expired', reason: isRecord(object) ? String(object.message) : 'unknown event' };
    }
  }

  /** What the server stores may be more than we know of; what we cannot work with counts for nothing. */
  #accepted<K extends Kind>(kind: K, item: unknown): ObjectOf<K> | undefined {
    const key = problemKey(kind, item);
    try {
      const object = parsed<K>(kind, item);
      this.#problems.delete(key);
      return object;
    } catch (error) {
      const problem = messageOf(error);
      if (this.#problems.get(key) !== problem) this.#report(problem);
      this.#problems.set(key, problem);
      return undefined;
    }
  }
}

/** @throws {StoreError} `Invalid` if the kind cannot be selected so. */
function collection(kind: Kind, selection: Selection): { path: string; query: Record<string, string> } {
  selector(kind, selection);
  const { namespace, fields = {} } = selection;
  const fieldSelector = formatFields(fields);
  return { path: collectionPath(kind, namespace), query: fieldSelector === '' ? {} : { fieldSelector } };
}

function collectionPath(kind: Kind, namespace?: string): string {
  const { apiVersion, plural } = definitionOf(kind);
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return namespace === undefined
    ? `${root}/${plural}`
    : `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

function objectPath(kind: Kind, { namespace, name }: Key): string {
  if (name === '' || definitionOf(kind).namespaced !== (namespace !== undefined)) {
    throw new StoreError(
      'Invalid',
      `Cannot name ${kind} ${JSON.stringify(name)}: name and namespace do not fit`,
    );
  }
  return `${collectionPath(kind, namespace)}/${encodeURIComponent(name)}`;
}

/** Items of a list carry neither kind nor version: the list does. */
function parsed<K extends Kind>(kind: K, value: unknown): ObjectOf<K> {
  const { apiVersion } = definitionOf(kind);
  try {
    return parseObject(isRecord(value) ? { apiVersion, kind, ...value } : value) as ObjectOf<K>;
  } catch (error) {
    throw new StoreError('Invalid', messageOf(error), { cause: error });
  }
}

function validated(object: ObjectOf<Kind>): { kind: Kind; key: Key } {
  parsed(object.kind as Kind, object);
  return { kind: object.kind as Kind, key: keyOf(object) };
}

function asList(value: unknown): { items: unknown[]; resourceVersion: string; next: string } {
  const { items, metadata } = isRecord(value) ? value : {};
  const { resourceVersion = '', continue: next = '' } = isRecord(metadata) ? metadata : {};
  return {
    items: Array.isArray(items) ? items : [],
    resourceVersion: String(resourceVersion),
    next: String(next),
  };
}

function versionOf(object: unknown): string {
  const metadata = isRecord(object) && isRecord(object.metadata) ? object.metadata : {};
  return String(metadata.resourceVersion ?? '');
}

function problemKey(kind: Kind, object: unknown): string {
  const { namespace = '', name = '' } = isRecord(object) && isRecord(object.metadata) ? object.metadata : {};
  return `${kind} ${namespace}/${name}`;
}

function isExpired(error: unknown): boolean {
  return isStoreError(error, 'Unavailable') && /expired|too old|gone/i.test(error.message);
}
