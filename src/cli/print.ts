/** Rows under headings, in columns as wide as their widest cell, two blanks apart. */
export function table(headings: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const cells = [headings, ...rows.map((row) => row.map(cell))];
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => width(row[column] ?? ''))));
  return cells
    .map((row) =>
      row
        .map((text, column) => pad(text, widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** Labels and what they are of, one a line. */
export function sheet(entries: readonly (readonly [label: string, value: unknown])[]): string {
  const widest = Math.max(...entries.map(([label]) => width(label)));
  return entries
    .flatMap(([label, value]) => {
      const [first = '', ...others] = cell(value).split('\n');
      return [`${pad(label, widest)}  ${first}`, ...others.map((line) => `${' '.repeat(widest)}  ${line}`)];
    })
    .map((line) => `${line}\n`)
    .join('');
}

export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, null, 2)}\n`);
}

/** To standard output; a reader that has seen enough, as `head` has, is no failure. */
export function print(text: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  process.stdout.write(text);
}

function cell(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-';
  return Array.isArray(value) ? value.map(cell).join(',') : String(value);
}

function width(text: string): number {
  return [...text].length;
}

function pad(text: string, to: number): string {
  return text + ' '.repeat(Math.max(0, to - width(text)));
}

/** `12s`, `5m`, `3h`, `12d`: how long ago, as kubectl says it. */
export function age(since: string | number | undefined, now = Date.now()): string {
  if (since === undefined) return '';
  const seconds = Math.max(0, Math.floor((now - new Date(since).getTime()) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}
