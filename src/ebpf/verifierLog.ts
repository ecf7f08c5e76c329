/** Where what the verifier says begins in what libbpf says. */
export const VERIFIER_LOG = 'BEGIN PROG LOAD LOG';

/** One line for people, out of what libbpf and the kernel said when an object would not load. */
export function summarise(log: string): string {
  const lines = log.split('\n').map((line) => line.trimEnd());
  const begin = lines.findIndex((line) => line.includes(VERIFIER_LOG));
  if (begin < 0) return firstComplaint(lines);
  const end = lines.findIndex((line, index) => index > begin && line.includes('END PROG LOAD LOG'));
  const verifier = lines.slice(begin + 1, end < 0 ? undefined : end);
  const program = /prog '([^']+)'/.exec(lines[begin] ?? '')?.[1] ?? 'unknown';
  const verdict = verifier.findLast((line) => line !== '' && !isBookkeeping(line)) ?? 'no reason given';
  const instruction = verifier
    .map((line) => /^(\d+): \(/.exec(line)?.[1])
    .findLast((number) => number !== undefined);
  const place = instruction === undefined ? '' : `, instruction ${instruction}`;
  return `the verifier refuses program ${program}${place}: ${verdict}`;
}

/** Statistics, register states and source lines that surround the message proper. */
function isBookkeeping(line: string): boolean {
  return /^(processed \d+ insns|verification time|stack depth|;|\d+: |from \d+ to|\s*(frame\d+: )?R\d+=)/.test(
    line,
  );
}

/** libbpf's messages go from the cause outwards. */
function firstComplaint(lines: string[]): string {
  const line = lines.find((line) => line.startsWith('libbpf: ') && !/^libbpf: (elf: skipping)/.test(line));
  return line?.slice('libbpf: '.length) ?? 'libbpf gives no reason';
}
