import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { messageOf } from '../../errors.ts';
import { definitionOf } from '../kinds/registry.ts';
import { parseFields, selector } from '../selection.ts';
import { type Place, placeOf } from './apiPath.ts';
import { Refused } from './refused.ts';
import { type Happened, hasStatus, type Stored, StrictStorage } from './strictStorage.ts';

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
  readonly #watches = new Set<() => void>();
  readonly #storage = new StrictStorage(() => {
    for (const wake of [...this.#watches]) wake();
  });
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
    this.#storage.compact();
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
    switch (method) {
      case 'GET':
        return place.name === undefined ? this.#list(place, query) : this.#storage.get(place);
      case 'POST':
        return this.#storage.create(place, body as Stored);
      case 'PUT':
        return this.#storage.update(place, body as Stored);
      default:
        this.#storage.delete(place, body);
        return { kind: 'Status', status: 'Success' };
    }
  }

  #list(place: Place, query: URLSearchParams): unknown {
    const { kind } = place;
    const selected = selectedBy(place, query);
    const all = this.#storage
      .all(kind)
      .filter(selected)
      .map(({ apiVersion: _, kind: __, ...item }) => item);
    const start = Number(query.get('continue') ?? 0);
    const end = start + Math.min(Number(query.get('limit') ?? this.pageSize), this.pageSize);
    const metadata = {
      resourceVersion: String(this.#storage.revision),
      ...(end < all.length && { continue: String(end) }),
    };
    return { kind: `${kind}List`, metadata, items: all.slice(start, end) };
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
      const news = this.#storage.since(from);
      if (news === undefined) {
        send('ERROR', {
          kind: 'Status',
          code: 410,
          reason: 'Expired',
          message: `too old resource version: ${from}`,
        });
        return end();
      }
      for (const happened of news) {
        if (happened.kind !== place.kind) continue;
        const type = typeSeen(happened, selected);
        if (type !== undefined) send(type, happened.object);
      }
      from = this.#storage.revision;
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
