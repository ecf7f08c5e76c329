import type { IncomingMessage, ServerResponse } from 'node:http';
import { formatMetrics, METRICS_TYPE, type Metric } from './metrics.ts';

/** What `GET /v1/<resource>` answers, by resource; each is computed when it is asked for, and may take its time. */
export type Resources = Readonly<Record<string, (query: URLSearchParams) => unknown>>;

/**
 * Serves `GET /v1/<resource>` as JSON and `GET /metrics` to Prometheus.
 *
 * @param actions What `POST /v1/<resource>` does; its answer is JSON, too.
 */
export function apiHandler(
  resources: Resources,
  metrics: () => Metric[] | Promise<Metric[]>,
  actions: Resources = {},
) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://agent');
    const name = /^\/v1\/([a-z/-]+)$/.exec(pathname)?.[1] ?? '';
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
    if (request.method === 'POST' && action) {
      reply(response, 200, json(await action(searchParams)));
    } else if (request.method !== 'GET') {
      reply(response, 405, json({ error: `expected GET (value ${request.method})` }));
    } else if (pathname === '/metrics') {
      reply(response, 200, formatMetrics(await metrics()), METRICS_TYPE);
    } else {
      const resource = Object.hasOwn(resources, name) ? resources[name] : undefined;
      if (resource) reply(response, 200, json(await resource(searchParams)));
      else
        reply(
          response,
          404,
          json({ error: `no such resource, expected /metrics or one of ${list(resources)}` }),
        );
    }
  };
}

function list(resources: Resources): string {
  return Object.keys(resources)
    .map((name) => `/v1/${name}`)
    .join(', ');
}

function json(value: unknown): string {
  const plain = (_: string, entry: unknown) => (typeof entry === 'bigint' ? entry.toString() : entry);
  return `${JSON.stringify(value, plain)}\n`;
}

function reply(response: ServerResponse, status: number, body: string, type = 'application/json'): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
