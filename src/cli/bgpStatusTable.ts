import type { NeighbourStatus, SpeakerStatus } from '../bgp/speaker/status.ts';

const HEADINGS = ['PEER ADDRESS', 'PEER TYPE', 'STATE', 'SINCE', 'INFO'] as const;

/** The tables of `calicoctl node status`, which operators and their scripts know. */
export function bgpStatusTables({ neighbours }: SpeakerStatus, now = new Date()): string {
  return ([4, 6] as const)
    .map((family) => {
      const peers = neighbours.filter(({ address }) => address.includes(':') === (family === 6));
      const title = `IPv${family} BGP status\n`;
      if (peers.length === 0) return `${title}No IPv${family} peers found.\n`;
      return title + boxed(peers.map((peer) => row(peer, now)));
    })
    .join('\n');
}

function row({ address, kind, state, since, shutdown, lastReset }: NeighbourStatus, now: Date): string[] {
  const up = state === 'Established';
  const info =
    up || (shutdown === undefined && lastReset === undefined)
      ? state
      : `${state}: ${shutdown ?? lastReset?.reason}`;
  return [address, kind, up ? 'up' : 'down', sinceText(new Date(since), now), info];
}

/** The time of day; the day for what is older than one, as Calico's BIRD says it. */
function sinceText(since: Date, now: Date): string {
  const [day = '', time = ''] = since.toISOString().split(/[T.]/);
  return now.getTime() - since.getTime() < 86_400_000 ? time : day;
}

function boxed(rows: readonly (readonly string[])[]): string {
  const widths = HEADINGS.map((heading, at) =>
    Math.max(heading.length, ...rows.map((row) => row[at]?.length ?? 0)),
  );
  const rule = `+${widths.map((width) => '-'.repeat(width + 2)).join('+')}+\n`;
  const line = (cells: readonly string[], pad: (text: string, width: number) => string) =>
    `|${cells.map((cell, at) => ` ${pad(cell, widths[at] ?? 0)} `).join('|')}|\n`;
  const centred = (text: string, width: number) =>
    text.padStart(text.length + ((width - text.length) >> 1)).padEnd(width);
  const left = (text: string, width: number) => text.padEnd(width);
  return rule + line(HEADINGS, centred) + rule + rows.map((cells) => line(cells, left)).join('') + rule;
}
