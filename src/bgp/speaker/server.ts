import { mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { dirname } from 'node:path';
import { because } from '../../errors.ts';
import type { Answer } from './api.ts';

/**
 * Serves a speaker's answers as HTTP over a unix socket, for root alone.
 *
 * @throws {Error} If the socket cannot be had.
 */
export function serveApi(
  path: string,
  answer: (method: string, path: string) => Answer | Promise<Answer>,
): Promise<Server> {
  const server = createServer(async (request, response) => {
    const { status, body } = await answer(request.method ?? 'GET', request.url ?? '/');
    if (body instanceof Uint8Array) response.writeHead(status).end(body);
    else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  return new Promise((resolve, reject) => {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      // What is left of a speaker that was killed; a running one keeps its own BGP port busy.
      rmSync(path, { force: true });
    } catch (error) {
      reject(because(`serve on ${path}`, error));
      return;
    }
    server.once('error', (error) => reject(because(`serve on ${path}`, error)));
    const before = process.umask(0o177);
    server.listen(path, () => resolve(server));
    process.umask(before);
  });
}
