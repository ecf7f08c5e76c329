import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const FILE = 'docs/benchmarks.md';

const PREAMBLE = `# Benchmarks

Each table was made by the command above it, with the peer beside Tombolo in the same run and the measurements taken in
turns. Ratios are the median over the rounds, with the smallest and the largest in parentheses; absolute figures are there to
show the order of magnitude on one small shared machine.
`;

export interface Section {
  readonly title: string;
  /** What makes the section anew: `make bench-services`. */
  readonly command: string;
  /** What was measured and how, in a few lines. */
  readonly method: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What a reader should know about the figures, misses included. */
  readonly notes?: string;
}

/** The section as markdown, `## title` first. */
export function renderSection({ title, command, method, header, rows, notes }: Section): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const table = [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
  return `## ${title}\n\n\`\`\`sh\n${command}\n\`\`\`\n\n${method}\n\n${table}\n${notes ? `\n${notes}\n` : ''}`;
}

/** Prints a section and puts it into `docs/benchmarks.md`, in the place of the one with the same title. */
export function report(section: Section): void {
  const text = renderSection(section);
  process.stdout.write(`\n${text}\n`);
  const before = existsSync(FILE) ? readFileSync(FILE, 'utf8') : PREAMBLE;
  writeFileSync(FILE, replaceSection(before, section.title, text));
}

export function replaceSection(document: string, title: string, text: string): string {
  const sections = document.split(/^(?=## )/m);
  const at = sections.findIndex((part) => part.startsWith(`## ${title}\n`));
  if (at < 0) sections.push(text);
  else sections[at] = text;
  return `${sections.map((part) => part.trimEnd()).join('\n\n')}\n`;
}
