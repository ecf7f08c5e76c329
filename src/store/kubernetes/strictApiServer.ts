import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../../errors.ts';
import { definitionOf, type Kind } from '../kinds/registry.ts';
import { isRecord } from '../schema.ts';
import { parseFields, selector } from '../selection.ts';
import { type Place, placeOf } from './apiPath.ts';
import { CUSTOM_KINDS, customResourceDefinition } from './customResource.ts';
import { violations } from './structuralSchema.ts';

interface Stored {
  apiVersion: string;
  kind: string;
  metadata: Record<string, unknown> & { name: string; namespace?: string };
  status?: unknown;
  [field: string]: unknown;
}

interface Happened {
  revision: number;
  kind: Kind;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: Stored;
  before: Stored | undefined;
}

const VERBS: Readonly<Record<string, Access['verb']>> = { POST: 'create', PUT: 'update', DELETE: 'delete' };

/** A fault to be met by the next request that `matches`. */
export interface Fault {
  matches(request: { method: string; path: string }): boolean;
  /** `drop`: the connection is cut; `lose`: it is cut once the request has been carried out. */
  readonly kind: 'drop' | 'lose';
}

/** One request, in the words of RBAC. */
export interface Access {
  /** The bearer's token. */
  readonly token: string;
  readonly verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'delete';
  /** Empty for the core group. */
  readonly group: string;
  /** With its subresource: `nodenetworks/status`. */
  readonly resource: string;
  readonly namespace: string | undefined;
}

/**
 * The storage side of the Kubernetes API in one process, strict where a real server is strict: compare-and-swap,
 * paging, watches with bookmarks that end in 410 once history is gone, status apart from the rest, our kinds as our
 * CustomResourceDefinitions have it. For tests, and for faults that a real server will not produce on demand.
 */
export class StrictApiServer {
  /** Small, so that tests turn pages. */
  pageSize = 3;
  /** Asked before each request; all are allowed where absent. */
  authorize: ((access: Access) => boolean) | undefined;
  readonly #servers: Server[] = [];
  readonly #objects = new Map<string, Stored>();
  readonly #watches = new Set<() => void>();
  #history: Happened[] = [];
  #revision = 1000;
  #oldest = 1000;
  #fault: Fault | undefined;

  private constructor() {
    this.serve(() => {});
  }

  /** Serves at one more place; `listen` is given a server that does not listen yet. */
  serve(listen: (server: Server) => void): Server {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => {
        if (error instanceof Refused) this.#refuse(response, error);
        else response.destroy(error instanceof Error ? error : undefined);
      });
    });
    listen(server);
    this.#servers.push(server);
    return server;
  }

  static async start(): Promise<StrictApiServer> {
    const server = new StrictApiServer();
    await new Promise<void>((resolve) => server.#servers[0]?.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#servers[0]?.address() as AddressInfo).port}`);
  }

  failNext(fault: Fault): void {
    this.#fault = fault;
  }

  /** Forgets all history: every watch from before is told 410, as after etcd's compaction. */
  compact(): void {
    this.#history = [];
    this.#oldest = this.#revision;
  }

  /** How many watches are being served. */
  get watches(): number {
    return this.#watches.size;
  }

  /** Cuts every watch, as a proxy that restarts does. */
  cut(): void {
    for (const server of this.#servers) server.closeAllConnections();
  }

  async stop(): Promise<void> {
    this.cut();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://server');
    const method = request.method ?? 'GET';
    const fault = this.#fault?.matches({ method, path: pathname }) ? this.#fault : undefined;
    if (fault) this.#fault = undefined;
    if (fault?.kind === 'drop') return void response.destroy();
    const place = placeOf(pathname);
    if (!place || (place.subresource !== undefined && !hasStatus(place.kind))) {
      throw new Refused(404, 'NotFound', `the server could not find the requested resource (${pathname})`);
    }
    this.#expectAllowed(place, method, searchParams, request.headers.authorization);
    if (searchParams.get('watch') === 'true') return this.#watch(place, searchParams, request, response);
    const answer = this.#answer(method, place, searchParams, await bodyOf(request));
    if (fault?.kind === 'lose') return void response.destroy();
    response.writeHead(method === 'POST' ? 201 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
  }

  #expectAllowed(place: Place, method: string, query: URLSearchParams, authorization = ''): void {
    const { kind, plural, subresource, namespace, name } = place;
    const reading = query.get('watch') === 'true' ? 'watch' : name === undefined ? 'list' : 'get';
    const verb = VERBS[method] ?? reading;
    const [group = ''] = definitionOf(kind).apiVersion.split('/').toReversed().slice(1);
    const resource = subresource === undefined ? plural : `${plural}/${subresource}`;
    const token = authorization.replace(/^Bearer /, '');
    if (this.authorize?.({ token, verb, group, resource, namespace }) ?? true) return;
    const what = `${resource} in API group "${group}"${namespace === undefined ? '' : ` in the namespace "${namespace}"`}`;
    throw new Refused(403, 'Forbidden', `"${token}" cannot ${verb} resource ${what}`);
  }

  #answer(method: string, place: Place, query: URLSearchParams, body: unknown): unknown {
    const key = `${place.kind} ${place.namespace ?? ''}/${place.name ?? ''}`;
    const stored = this.#objects.get(key);
    if (method === 'GET' && place.name === undefined) return this.#list(place, query);
    if (method === 'POST') return this.#create(place, body as Stored);
    if (!stored) throw new Refused(404, 'NotFound', `${place.plural} "${place.name}" not found`);
    if (method === 'GET') return stored;
    if (method === 'PUT') return this.#update(key, stored, body as Stored, place.subresource === 'status');
    return this.#delete(key, stored, body);
  }

  #list(place: Place, query: URLSearchParams): unknown {
    const { kind } = place;
    const selected = selectedBy(place, query);
    const all = [...this.#objects]
      .filter(([key, object]) => key.startsWith(`${kind} `) && selected(object))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { apiVersion: _, kind: __, ...item }]) => item);
    const start = Number(query.get('continue') ?? 0);
    const end = start + Math.min(Number(query.get('limit') ?? this.pageSize), this.pageSize);
    const metadata = {
      resourceVersion: String(this.#revision),
      ...(end < all.length && { continue: String(end) }),
    };
    return { kind: `${kind}List`, metadata, items: all.slice(start, end) };
  }

  #create({ kind, namespace }: Place, { status: _, ...object }: Stored): Stored {
    const { apiVersion } = definitionOf(kind);
    if (object.apiVersion !== apiVersion || object.kind !== kind || object.metadata.namespace !== namespace) {
      throw new Refused(400, 'BadRequest', 'the object does not match the path');
    }
    if (object.metadata.resourceVersion !== undefined) {
      throw new Refused(400, 'BadRequest', 'resourceVersion should not be set on objects to be created');
    }
    expectValid(kind, object);
    const key = `${kind} ${namespace ?? ''}/${object.metadata.name}`;
    if (this.#objects.has(key)) {
      throw new Refused(409, 'AlreadyExists', `${kind} "${object.metadata.name}" already exists`);
    }
    const given = { uid: randomUUID(), creationTimestamp: new Date().toISOString(), generation: 1 };
    return this.#happen('ADDED', key, { ...object, metadata: { ...object.metadata, ...given } });
  }

  #update(key: string, stored: Stored, object: Stored, statusOnly: boolean): Stored {
    const { resourceVersion, uid } = object.metadata;
    if (
      resourceVersion !== stored.metadata.resourceVersion ||
      (uid ?? stored.metadata.uid) !== stored.metadata.uid
    ) {
      throw new Refused(409, 'Conflict', `the object has been modified (${stored.metadata.name})`);
    }
    expectValid(object.kind as Kind, object);
    if (statusOnly) return this.#happen('MODIFIED', key, { ...stored, status: object.status });
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

  #delete(key: string, stored: Stored, body: unknown): unknown {
    const wanted = isRecord(body) && isRecord(body.preconditions) ? body.preconditions : {};
    for (const name of ['uid', 'resourceVersion']) {
      if (wanted[name] !== undefined && wanted[name] !== stored.metadata[name]) {
        throw new Refused(409, 'Conflict', `precondition failed: ${name}`);
      }
    }
    const { deletionTimestamp = new Date().toISOString() } = stored.metadata;
    const marked = { ...stored, metadata: { ...stored.metadata, deletionTimestamp } };
    if (isProtected(stored)) this.#happen('MODIFIED', key, marked);
    else this.#happen('DELETED', key, stored);
    return { kind: 'Status', status: 'Success' };
  }

  #happen(type: Happened['type'], key: string, object: Stored): Stored {
    const resourceVersion = String(++this.#revision);
    const next: Stored = { ...object, metadata: { ...object.metadata, resourceVersion } };
    const before = this.#objects.get(key);
    if (type === 'DELETED') this.#objects.delete(key);
    else this.#objects.set(key, next);
    this.#history.push({ revision: this.#revision, kind: next.kind as Kind, type, object: next, before });
    for (const wake of [...this.#watches]) wake();
    return next;
  }

  #watch(place: Place, query: URLSearchParams, request: IncomingMessage, response: ServerResponse): void {
    let from = Number(query.get('resourceVersion'));
    const selected = selectedBy(place, query);
    response.writeHead(200, { 'content-type': 'application/json' });
    const send = (type: string, object: unknown) => response.write(`${JSON.stringify({ type, object })}\n`);
    const end = () => {
      this.#watches.delete(wake);
      response.end();
    };
    const wake = () => {
      if (from < this.#oldest) {
        send('ERROR', {
          kind: 'Status',
          code: 410,
          reason: 'Expired',
          message: `too old resource version: ${from}`,
        });
        return end();
      }
      const seen = this.#history.findLastIndex(({ revision }) => revision <= from);
      for (const happened of this.#history.slice(seen + 1)) {
        if (happened.kind !== place.kind) continue;
        const type = typeSeen(happened, selected);
        if (type !== undefined) send(type, happened.object);
      }
      from = this.#revision;
      if (query.get('allowWatchBookmarks') === 'true') {
        send('BOOKMARK', { kind: place.kind, metadata: { resourceVersion: String(from) } });
      }
    };
    this.#watches.add(wake);
    request.on('close', end);
    wake();
  }

  #refuse(response: ServerResponse, { code, reason, message }: Refused): void {
    response.writeHead(code, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ kind: 'Status', status: 'Failure', reason, message, code }));
  }
}

const CUSTOM = new Map(
  CUSTOM_KINDS.flatMap((kind) => customResourceDefinition(kind).spec.versions.map((one) => [kind, one])),
);

function hasStatus(kind: Kind): boolean {
  const version = CUSTOM.get(kind);
  return version === undefined || 'subresources' in version;
}

function expectValid(kind: Kind, object: Stored): void {
  const version = CUSTOM.get(kind);
  const [violation] = version ? violations(version.schema.openAPIV3Schema, object) : [];
  if (violation === undefined) return;
  throw new Refused(422, 'Invalid', `${kind} "${object.metadata.name}" is invalid: ${violation}`);
}

class Refused extends Error {
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

/** A real server refuses what it has no index for, and so does this one. */
function selectedBy({ kind, namespace }: Place, query: URLSearchParams): (object: Stored) => boolean {
  const fields = query.get('fieldSelector');
  try {
    return selector(kind, {
      ...(namespace !== undefined && { namespace }),
      ...(fields !== null && { fields: parseFields(fields) }),
    });
  } catch (error) {
    throw new Refused(400, 'BadRequest', messageOf(error));
  }
}

/** What leaves the selection is deleted to who watches it, and what enters it added. */
function typeSeen(
  { type, object, before }: Happened,
  selected: (object: Stored) => boolean,
): Happened['type'] | undefined {
  if (type !== 'MODIFIED') return selected(object) ? type : undefined;
  const was = before !== undefined && selected(before);
  if (selected(object)) return was ? 'MODIFIED' : 'ADDED';
  return was ? 'DELETED' : undefined;
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  return text === '' ? undefined : JSON.parse(text);
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
