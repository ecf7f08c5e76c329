import { Command, Option } from 'commander';
import type { AttributesView } from '../bgp/rib/attributesView.ts';
import type { ExplainedExport, ExplainedPath, Explanation } from '../bgp/rib/explain.ts';
import type { RibEntry, RibView, RouteEntry } from '../bgp/rib/ribView.ts';
import type { KernelEntry } from '../bgp/speaker/kernelReport.ts';
import { askAgent } from './agentClient.ts';
import { print, printJson, table } from './print.ts';

interface Flags {
  socket: string;
  output: 'table' | 'json';
}

interface RibFlags extends Flags {
  in?: string;
  out?: string;
  family?: string;
  limit?: string;
}

/** `tombolo bgp rib [PREFIX]`: the paths that may be used, or what one peer said or was told. */
export function bgpRibCommand(): Command {
  return withFlags(new Command('rib'))
    .description('show the BGP table, or what a neighbour said (--in) or was told (--out)')
    .argument('[prefix]', 'this one only')
    .addOption(new Option('--in <neighbour>', 'what it said, before policy').conflicts('out'))
    .option('--out <neighbour>', 'what it was told')
    .option('--family <family>', 'the address family', 'ipv4-unicast')
    .option('--limit <entries>', 'how many to show', '1000')
    .action(async (prefix: string | undefined, flags: RibFlags) => {
      const peer = flags.in ?? flags.out;
      const view = flags.in !== undefined ? 'in' : flags.out !== undefined ? 'out' : 'loc';
      const answer = await ask<RibView>(flags, 'rib', {
        view,
        peer,
        prefix,
        family: flags.family,
        limit: flags.limit,
      });
      if (flags.output === 'json') printJson(answer);
      else print(ribTable(answer));
    });
}

/** `tombolo bgp routes`: where prefixes lead. */
export function bgpRoutesCommand(): Command {
  return withFlags(new Command('routes'))
    .description('show where prefixes lead by BGP, all next hops of each')
    .option('--family <family>', 'the address family', 'ipv4-unicast')
    .option('--limit <entries>', 'how many to show', '1000')
    .action(async (flags: RibFlags) => {
      const { family, limit } = flags;
      const answer = await ask<{ routes: RouteEntry[]; truncated: boolean }>(flags, 'routes', {
        family,
        limit,
      });
      if (flags.output === 'json') printJson(answer);
      else {
        const rows = answer.routes.map(({ prefix, nextHops, priority }) => [prefix, nextHops, priority]);
        print(`${table(['PREFIX', 'NEXT HOPS', 'PRIORITY'], rows)}${more(answer)}`);
      }
    });
}

/** `tombolo bgp kernel`: what of it the host routes by. */
export function bgpKernelCommand(): Command {
  return withFlags(new Command('kernel'))
    .description('show which routes are in the kernel, and why others are not')
    .action(async (flags: Flags) => {
      const answer = await ask<KernelEntry[]>(flags, 'kernel', {});
      if (flags.output === 'json') printJson(answer);
      else {
        const rows = answer.map(({ prefix, state, detail }) => [prefix, state, detail]);
        print(table(['PREFIX', 'STATE', 'DETAIL'], rows));
      }
    });
}

/** `tombolo bgp explain PREFIX`: why a path is the best, why each other is not, and who is told what. */
export function bgpExplainCommand(): Command {
  return withFlags(new Command('explain'))
    .description('say why a path is the best, why the others are not, and which line of policy decided')
    .argument('<prefix>', 'a prefix, or an address for the longest prefix it is in')
    .action(async (prefix: string, flags: Flags) => {
      const answer = await ask<Explanation>(flags, 'explain', { prefix });
      if (flags.output === 'json') printJson(answer);
      else print(explanationText(answer));
    });
}

function withFlags(command: Command): Command {
  return command
    .addOption(
      new Option('--socket <path>', 'the socket of an agent, or of tombolo bgp run')
        .env('TOMBOLO_SOCKET')
        .default('/run/tombolo/agent.sock'),
    )
    .addOption(
      new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'),
    );
}

function ask<T>({ socket }: Flags, resource: string, given: Record<string, string | undefined>): Promise<T> {
  const entries = Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const parameters = entries.length === 0 ? '' : `?${new URLSearchParams(entries)}`;
  return askAgent<T>(socket, `/v1/bgp/${resource}${parameters}`);
}

function ribTable(view: RibView): string {
  const rows = view.entries.map((entry) => [
    marks(entry),
    entry.prefix,
    entry.attributes.nextHop,
    entry.peer ?? 'this node',
    entry.pathId,
    entry.attributes.med,
    entry.attributes.localPreference,
    `${entry.attributes.asPath} ${originLetter(entry.attributes)}`.trim(),
    entry.attributes.communities,
  ]);
  const headings = ['', 'PREFIX', 'NEXT HOP', 'FROM', 'ID', 'MED', 'LOCPREF', 'AS PATH', 'COMMUNITIES'];
  const legend = '> best, S stale, R refused by import policy\n';
  return `${table(headings, rows)}${view.entries.length > 0 ? legend : ''}${more(view)}`;
}

function marks({ best, stale, refused }: RibEntry): string {
  return `${best ? '>' : ''}${stale ? 'S' : ''}${refused ? 'R' : ''}` || ' ';
}

function originLetter({ origin }: AttributesView): string {
  return origin === 'IGP' ? 'i' : origin === 'EGP' ? 'e' : '?';
}

function more({ truncated }: { readonly truncated: boolean }): string {
  return truncated ? 'There are more: see --limit.\n' : '';
}

function explanationText({ prefix, family, paths, sent }: Explanation): string {
  return `${prefix} (${family})\n\nPaths\n${paths.map(pathText).join('')}\nSent\n${sent.map(exportText).join('')}`;
}

function pathText(path: ExplainedPath): string {
  const { peer = 'this node', pathId, stale, verdict, attributes } = path;
  const name = `${peer}${pathId === undefined ? '' : ` path ${pathId}`}${stale ? ', stale' : ''}`;
  const why = verdict === 'best' || verdict === 'multipath' ? verdict : `not best: ${verdict}`;
  return `  ${name}: ${why}\n    import: ${path.import}\n    ${attributesText(attributes)}\n`;
}

function exportText({ peers, from = 'this node', export: line, attributes }: ExplainedExport): string {
  if (peers.length === 0) return '';
  const shown = peers.slice(0, 8).join(', ');
  const rest = peers.length > 8 ? ` and ${peers.length - 8} more` : '';
  const what = attributes === undefined ? 'nothing' : `the path of ${from}`;
  const how = attributes === undefined ? '' : `    ${attributesText(attributes)}\n`;
  return `  to ${shown}${rest}: ${what}\n    export: ${line}\n${how}`;
}

function attributesText(attributes: AttributesView): string {
  return Object.entries(attributes)
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join(', ');
}
