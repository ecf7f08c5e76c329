import { Command, Option } from 'commander';
import type { NeighbourStatus, SpeakerStatus } from '../bgp/speaker/status.ts';
import { askAgent } from './agentClient.ts';
import { age, print, printJson, sheet, table } from './print.ts';

interface Flags {
  socket: string;
  output: 'table' | 'json';
}

/** `tombolo bgp neighbors [NAME]`: every neighbour in a line, or all about one. */
export function bgpNeighborsCommand(): Command {
  return new Command('neighbors')
    .alias('neighbours')
    .description('list the BGP neighbours, or say all about one')
    .argument('[name]', 'the neighbour, by name or address')
    .addOption(
      new Option('--socket <path>', 'the socket of an agent, or of tombolo bgp run')
        .env('TOMBOLO_SOCKET')
        .default('/run/tombolo/agent.sock'),
    )
    .addOption(
      new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'),
    )
    .action(async (name: string | undefined, { socket, output }: Flags) => {
      const status = await askAgent<SpeakerStatus>(socket, '/v1/bgp/neighbors');
      if (name === undefined) {
        if (output === 'json') printJson(status);
        else print(neighbourTable(status));
        return;
      }
      const one = status.neighbours.find(
        (neighbour) => neighbour.name === name || neighbour.address === name,
      );
      if (one === undefined)
        throw new Error(`Cannot show neighbour: there is none of that name (value ${name})`);
      if (output === 'json') printJson(one);
      else print(neighbourSheet(one));
    });
}

function neighbourTable({ asn, routerId, deferring, draining, neighbours }: SpeakerStatus): string {
  const notes = [
    ...(deferring ? ['restarted, waiting for its peers'] : []),
    ...(draining ? ['draining'] : []),
  ];
  const head = [`AS ${asn}, router ${routerId}`, ...notes].join(', ');
  const rows = neighbours.map((one) => [
    one.name,
    one.remoteAs,
    one.state,
    age(one.since),
    sumOf(one, 'received'),
    sumOf(one, 'accepted'),
    sumOf(one, 'advertised'),
    infoOf(one),
  ]);
  return `${head}\n${table(['NEIGHBOUR', 'AS', 'STATE', 'SINCE', 'RECEIVED', 'ACCEPTED', 'SENT', 'INFO'], rows)}`;
}

function sumOf({ families, state }: NeighbourStatus, count: 'received' | 'accepted' | 'advertised') {
  if (state !== 'Established') return '';
  return String(families.reduce((sum, family) => sum + family[count], 0));
}

function infoOf({ shutdown, state, lastReset }: NeighbourStatus): string | undefined {
  if (shutdown !== undefined) return `shut down: ${shutdown}`;
  return state === 'Established' ? undefined : lastReset?.reason;
}

function neighbourSheet(one: NeighbourStatus): string {
  const { negotiated, messages, lastReset } = one;
  return sheet([
    ['Neighbour', one.description === undefined ? one.name : `${one.name} (${one.description})`],
    ['Address', one.localAddress === undefined ? one.address : `${one.address}, ours ${one.localAddress}`],
    ['AS', `${one.remoteAs}, ours ${one.localAs}${negotiated ? `, ${negotiated.type}` : ''}`],
    ['Identifier', one.identifier],
    ['State', `${one.state} for ${age(one.since)}, established ${times(one.established)}`],
    [
      'Last reset',
      lastReset &&
        `${lastReset.reason}${lastReset.detail ? ` (${lastReset.detail})` : ''}, ${age(lastReset.at)} ago`,
    ],
    ['Hold time', negotiated && (negotiated.holdTime === 0 ? 'none' : `${negotiated.holdTime} s`)],
    ['Capabilities', negotiated && capabilityLines(negotiated.capabilities)],
    ['Prefixes', one.families.map(familyLine).join('\n')],
    [
      'Messages',
      `${total(messages.received)} received, ${total(messages.sent)} sent, ${one.backlog} bytes waiting`,
    ],
    ['Malformed', one.malformedUpdates > 0 ? `${one.malformedUpdates} UPDATEs` : undefined],
  ]);
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** Each with who has it: both, or only one side. */
function capabilityLines({
  sent,
  received,
}: {
  sent: readonly string[];
  received: readonly string[];
}): string {
  const all = [...new Set([...sent, ...received])];
  return all
    .map((name) => {
      if (sent.includes(name) && received.includes(name)) return `${name}: both`;
      return `${name}: ${sent.includes(name) ? 'sent' : 'received'} only`;
    })
    .join('\n');
}

function familyLine({
  family,
  received,
  accepted,
  advertised,
  endOfRib,
}: NeighbourStatus['families'][number]): string {
  const end = endOfRib ? '' : ', no End-of-RIB yet';
  return `${family}: ${received} received, ${accepted} accepted, ${advertised} sent${end}`;
}

function total(counters: Readonly<Record<string, number>>): number {
  return Object.values(counters).reduce((sum, count) => sum + count, 0);
}
