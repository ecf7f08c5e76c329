import { parsePrefix } from '../../address/prefix.ts';
import { messageOf } from '../../errors.ts';
import type { Rib } from '../rib/rib.ts';
import { query } from '../rib/ribView.ts';
import { CEASE_SUBCODE, cease } from '../wire/notification.ts';
import { processClock } from './clock.ts';
import { holdersOf } from './holders.ts';
import type { Speaker } from './speaker.ts';
import { speakerStatus } from './status.ts';

/** An HTTP answer: the same for the agent's socket and for that of a stand-alone speaker. */
export interface Answer {
  readonly status: 200 | 400 | 404 | 405 | 503;
  /** JSON, or bytes. */
  readonly body: unknown;
}

/**
 * What a speaker answers to `GET /v1/bgp/neighbors`, `rib`, `routes`, `explain` and `holders`, and does on `POST /v1/bgp/neighbors/NAME/refresh` or `…/reset`.
 */
export function answer(speaker: Speaker, rib: Rib, method: string, path: string): Answer {
  const [resource, encoded, verb] = path.replace(/^\/v1\/bgp\//, '').split('/');
  const tables = method === 'GET' ? readTables(speaker, rib, path) : undefined;
  if (tables) return tables;
  if (resource !== 'neighbors') return refused(404, `there is no ${path}`);
  if (method === 'GET' && encoded === undefined) return { status: 200, body: speakerStatus(speaker, rib) };
  let name: string;
  try {
    name = decodeURIComponent(encoded ?? '');
  } catch (error) {
    return refused(400, messageOf(error));
  }
  const neighbour = speaker.neighbour(name);
  if (neighbour === undefined) return refused(404, `there is no neighbour ${name}`);
  if (method === 'POST' && verb === 'refresh') {
    const families = neighbour.session?.agreement.families ?? [];
    const asked = families.filter(({ family }) => neighbour.refresh(family)).length;
    return asked > 0 ? done() : refused(400, `${name} has no session that can be refreshed`);
  }
  if (method === 'POST' && verb === 'reset') {
    neighbour.reset(cease(CEASE_SUBCODE.administrativeReset, 'reset by hand'));
    return done();
  }
  return refused(405, `cannot ${method} ${path}`);
}

/** `rib`, `routes`, `explain` and `holders`, with parameters as in a URL; `undefined` for anything else. */
function readTables(speaker: Speaker, rib: Rib, path: string): Answer | undefined {
  const [, resource, written] = /^\/v1\/bgp\/(rib|routes|explain|holders)(?:\?(.*))?$/.exec(path) ?? [];
  const parameters = new URLSearchParams(written);
  try {
    if (resource === 'holders') {
      const prefix = parsePrefix(parameters.get('prefix') ?? '');
      return { status: 200, body: { holders: holdersOf(speaker, rib, prefix, processClock.now()) } };
    }
    if (resource !== 'rib' && resource !== 'routes' && resource !== 'explain') return undefined;
    return { status: 200, body: query(rib, resource, parameters) };
  } catch (error) {
    return refused(400, messageOf(error));
  }
}

function done(): Answer {
  return { status: 200, body: {} };
}

function refused(status: 400 | 404 | 405, error: string): Answer {
  return { status, body: { error } };
}
