import { familyOf, parseIP } from '../../address/ip.ts';
import { formatPrefix, hostPrefix, networkOf, type Prefix, parsePrefix } from '../../address/prefix.ts';
import { matchOf } from '../policy/prefixMatch.ts';
import { familyName, IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import { type AttributesView, attributesView } from './attributesView.ts';
import type { Reason } from './decision.ts';
import type { FamilyRib } from './familyRib.ts';
import { IPv4Keys, IPv6Keys } from './nlriKeys.ts';
import { LOCAL } from './peers.ts';
import type { Rib } from './rib.ts';
import type { UpdateGroup } from './updateGroup.ts';

/** Everything that decided about one prefix. */
export interface Explanation {
  readonly prefix: string;
  readonly family: string;
  readonly paths: readonly ExplainedPath[];
  readonly sent: readonly ExplainedExport[];
}

export interface ExplainedPath {
  /** The peer's name; absent for the node's own route. */
  readonly peer?: string;
  readonly pathId?: number;
  readonly stale?: true;
  /** The line of the import policy that decided, or the loop that was found. */
  readonly import: string;
  /** `best`, `multipath`, or the first step of the decision that it lost. */
  readonly verdict: 'best' | 'multipath' | Reason;
  /** As policy let them in; as received where it did not. */
  readonly attributes: AttributesView;
}

/** What peers that are told the same were told. */
export interface ExplainedExport {
  readonly peers: readonly string[];
  /** The peer whose path it is; it is not told itself. */
  readonly from?: string;
  /** The line of the export policy that decided, or the rule of the protocol that forbids it. */
  readonly export: string;
  /** Absent where nothing is announced. */
  readonly attributes?: AttributesView;
}

/**
 * Explains a prefix, or the longest one there is for an address.
 *
 * @throws {SyntaxError} If the text is neither.
 */
export function explain(rib: Rib, text: string): Explanation | undefined {
  const exact = text.includes('/');
  const wanted = exact ? parsePrefix(text) : hostPrefix(parseIP(text));
  const family = familyOf(wanted.address);
  const table = rib.families.get(family === 4 ? IPV4_UNICAST : IPV6_UNICAST);
  if (table === undefined) return undefined;
  for (let { length } = wanted; length >= 0; length--) {
    const prefix = networkOf({ address: wanted.address, length });
    const row = rowOf(table, prefix);
    if (row !== 0 && table.table.first[row] !== 0) return explanation(rib, table, prefix, row);
    if (exact) return undefined;
  }
  return undefined;
}

/** The row of a prefix in its table, or 0. */
export function rowOf({ table }: FamilyRib, prefix: Prefix): number {
  const { words, length } = matchOf(prefix);
  if (table.keys instanceof IPv4Keys) table.keys.seek(words[0] as number, length);
  else if (table.keys instanceof IPv6Keys) table.keys.seek(words, length);
  else return 0;
  return table.find();
}

function explanation(rib: Rib, family: FamilyRib, prefix: Prefix, row: number): Explanation {
  return {
    prefix: formatPrefix(prefix),
    family: familyName(family.table.family),
    paths: explainPaths(rib, family, row),
    sent: [...family.groups.values()].flatMap((group) => explainExport(rib, family, group, row)),
  };
}

function explainPaths(rib: Rib, family: FamilyRib, row: number): ExplainedPath[] {
  const { decision, store, peers } = rib.parts;
  const { table } = family;
  const lost = new Map<number, Reason>();
  decision.run(table, row, (path, reason) => lost.set(path, reason));
  const { best, multipath } = decision;
  const paths: ExplainedPath[] = [];
  for (let path = table.first[row] as number; path !== 0; path = table.next[path] as number) {
    const number = table.peer[path] as number;
    const received = table.received[path] as number;
    const routes = family.incoming.get(number);
    const verdict = path === best ? 'best' : multipath.includes(path) ? 'multipath' : lost.get(path);
    paths.push({
      ...(number !== LOCAL && { peer: peers.get(number)?.name ?? `number ${number}` }),
      ...(table.pathId[path] !== 0 && { pathId: table.pathId[path] as number }),
      ...(routes?.isStale(path) && { stale: true }),
      import: routes?.explain(row, received) ?? 'unknown',
      verdict: verdict ?? 'path identifier',
      attributes: attributesView(store, (table.accepted[path] as number) || received),
    });
  }
  return paths;
}

function explainExport(rib: Rib, family: FamilyRib, group: UpdateGroup, row: number): ExplainedExport[] {
  const { peers, store } = rib.parts;
  const names = [...group.members.keys()].map((number) => peers.get(number)?.name ?? `number ${number}`);
  return group.candidates(row).map((path): ExplainedExport => {
    const from = peers.get(family.table.peer[path] as number)?.name;
    const { sent, because } = group.exporter.explain(family.table, path);
    return {
      peers: names.filter((name) => name !== from),
      ...(from !== undefined && { from }),
      export: because,
      ...(sent !== 0 && { attributes: attributesView(store, sent) }),
    };
  });
}
