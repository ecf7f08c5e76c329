import { formatIP } from '../../address/ip.ts';
import { formatPrefix, parsePrefix } from '../../address/prefix.ts';
import { type AfiSafi, familyName, IPV4_UNICAST, parseFamily } from '../wire/family.ts';
import { type AttributesView, attributesView } from './attributesView.ts';
import { type Explanation, explain, rowOf } from './explain.ts';
import type { FamilyRib } from './familyRib.ts';
import { LOCAL } from './peers.ts';
import { prefixOf } from './prefixOf.ts';
import type { Rib } from './rib.ts';

/** Which of BGP's tables (RFC 4271 §3.2): what a peer says, what was chosen, what a peer was told. */
export type View = 'in' | 'loc' | 'out';

export interface RibEntry {
  readonly prefix: string;
  /** Where it came from; absent for the node's own. */
  readonly peer?: string;
  readonly pathId?: number;
  readonly best?: true;
  readonly stale?: true;
  /** Import policy did not let it in. */
  readonly refused?: true;
  readonly attributes: AttributesView;
}

export interface RibView {
  readonly view: View;
  readonly family: string;
  readonly entries: readonly RibEntry[];
  /** There were more than the limit allows to show. */
  readonly truncated: boolean;
}

/** Where prefixes lead: the result of the decision, as the kernel is to have it. */
export interface RouteEntry {
  readonly prefix: string;
  readonly nextHops: readonly string[];
  readonly priority: number;
}

const LARGEST = 10_000;

/**
 * Answers `rib`, `routes` and `explain` with their parameters, as an operator may give them.
 *
 * @throws {SyntaxError} If a parameter is wrong or names nothing.
 */
export function query(
  rib: Rib,
  resource: 'rib' | 'routes' | 'explain',
  parameters: URLSearchParams,
): RibView | { readonly routes: readonly RouteEntry[]; readonly truncated: boolean } | Explanation {
  if (resource === 'explain') {
    const prefix = parameters.get('prefix') ?? '';
    const explanation = explain(rib, prefix);
    if (explanation === undefined) throw new SyntaxError(`Cannot explain ${prefix}: there is no route to it`);
    return explanation;
  }
  const family = parameters.has('family') ? parseFamily(parameters.get('family') ?? '') : IPV4_UNICAST;
  const limit = Math.min(LARGEST, Number(parameters.get('limit') ?? LARGEST) || LARGEST);
  if (resource === 'routes') return routesOf(rib, family, limit);
  return ribView(rib, {
    view: viewOf(parameters.get('view') ?? 'loc'),
    family,
    limit,
    peer: parameters.get('peer') ?? undefined,
    prefix: parameters.get('prefix') ?? undefined,
  });
}

function viewOf(text: string): View {
  if (text === 'in' || text === 'loc' || text === 'out') return text;
  throw new SyntaxError(`Cannot show table: expected in, loc or out (value ${JSON.stringify(text)})`);
}

interface Selection {
  readonly view: View;
  readonly family: AfiSafi;
  readonly limit: number;
  /** Required for `in` and `out`. */
  readonly peer: string | undefined;
  readonly prefix: string | undefined;
}

/** Part of a table, in the order of its rows. */
export function ribView(rib: Rib, selection: Selection): RibView {
  const { view, family, limit, peer, prefix } = selection;
  const table = rib.families.get(family);
  const number = peer === undefined ? undefined : rib.parts.peers.numberOf(peer);
  if (peer !== undefined && number === undefined) {
    throw new SyntaxError(`Cannot show table: there is no peer of that name (value ${JSON.stringify(peer)})`);
  }
  if (view !== 'loc' && number === undefined)
    throw new SyntaxError(`Cannot show table ${view}: it is one peer's`);
  const rows =
    table === undefined ? [] : prefix === undefined ? rowsOf(table) : [rowOf(table, parsePrefix(prefix))];
  const entries: RibEntry[] = [];
  for (const row of rows) {
    if (table === undefined || row === 0) continue;
    if (view === 'out') entries.push(...sentEntries(rib, table, row, number ?? 0));
    else entries.push(...pathEntries(rib, table, row, view === 'in' ? number : undefined));
    if (entries.length > limit) break;
  }
  return {
    view,
    family: familyName(family),
    entries: entries.slice(0, limit),
    truncated: entries.length > limit,
  };
}

/** All paths of one peer, or of nobody in particular: then those that may be used. */
function pathEntries(rib: Rib, family: FamilyRib, row: number, only: number | undefined): RibEntry[] {
  const { table } = family;
  const { decision, peers, store } = rib.parts;
  const best = decision.bestOf(table, row);
  const entries: RibEntry[] = [];
  for (let path = table.first[row] as number; path !== 0; path = table.next[path] as number) {
    const number = table.peer[path] as number;
    const accepted = table.accepted[path] as number;
    if (only === undefined ? accepted === 0 : number !== only) continue;
    entries.push({
      prefix: nameOf(family, row),
      ...(number !== LOCAL && { peer: peers.get(number)?.name ?? `number ${number}` }),
      ...(table.pathId[path] !== 0 && { pathId: table.pathId[path] as number }),
      ...(path === best && { best: true }),
      ...(family.incoming.get(number)?.isStale(path) && { stale: true }),
      ...(accepted === 0 && { refused: true }),
      attributes: attributesView(store, only === undefined ? accepted : (table.received[path] as number)),
    });
  }
  return entries;
}

function sentEntries(rib: Rib, family: FamilyRib, row: number, member: number): RibEntry[] {
  const { peers, store } = rib.parts;
  const entries: RibEntry[] = [];
  for (const { members, sent } of family.groups.values()) {
    if (!members.has(member)) continue;
    for (let entry = sent.firstOf(row); entry !== 0; entry = sent.next[entry] as number) {
      const from = sent.from[entry] as number;
      if (from === member) continue;
      entries.push({
        prefix: nameOf(family, row),
        ...(from !== LOCAL && { peer: peers.get(from)?.name ?? `number ${from}` }),
        ...(sent.ordinal[entry] !== 0 && { pathId: sent.ordinal[entry] as number }),
        attributes: attributesView(store, sent.attributes[entry] as number),
      });
    }
  }
  return entries;
}

function routesOf(rib: Rib, family: AfiSafi, limit: number) {
  const table = rib.families.get(family);
  const routes: RouteEntry[] = [];
  for (const row of table === undefined ? [] : rowsOf(table)) {
    const best = table?.bestRoute(row);
    if (table === undefined || best === undefined) continue;
    routes.push({
      prefix: nameOf(table, row),
      nextHops: best.nextHops.map(({ address, device }) => formatIP(address) + (device ? `%${device}` : '')),
      priority: best.priority,
    });
    if (routes.length > limit) break;
  }
  return { routes: routes.slice(0, limit), truncated: routes.length > limit };
}

function* rowsOf({ table }: FamilyRib): Generator<number> {
  for (let row = 1; row < table.destinationEnd; row++) if (table.first[row] !== 0) yield row;
}

/** A prefix; the NLRI as hex in families that have none. */
function nameOf({ table }: FamilyRib, row: number): string {
  const prefix = prefixOf(table, row);
  if (prefix !== undefined) return formatPrefix(prefix);
  const bytes = Buffer.alloc(300);
  return bytes.toString('hex', 0, table.keys.write(row, bytes, 0));
}
