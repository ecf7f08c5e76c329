import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { formatIP, type IP } from '../address/ip.ts';
import type { Allocation } from './allocator.ts';

/** Something that happened to an address, one JSON object a line of `history.jsonl`. */
export interface Chapter {
  /** RFC 3339. */
  readonly at: string;
  readonly event: 'given' | 'released' | 'kept' | 'forgotten';
  readonly addresses: readonly string[];
  readonly containerID?: string;
  readonly ifName?: string;
  readonly pod?: string;
  readonly claim?: string;
}

/** A file holds some 100,000 events, and so many older ones are kept: what a busy node does in weeks. */
const FILE_BYTES = 16 << 20;
const FILES_KEPT = 4;

/**
 * Who had which address, when: for the question that is asked a week later. The journal is what the node goes by and
 * forgets what is over; this remembers it. Written at once but not synced: after a power cut the last seconds may be
 * missing here, never in the journal.
 */
export class History {
  readonly #directory: string;
  #fd: number;
  #size: number;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#fd = openSync(this.#path(), 'a', 0o600);
    this.#size = statSync(this.#path()).size;
  }

  /** @throws {Error} If the disk does not take it; whoever answers for addresses does not depend on that. */
  note(event: Chapter['event'], at: number, addresses: readonly IP[], of: Partial<Allocation>): void {
    const { owner, pod, claim } = of;
    const chapter: Chapter = {
      at: new Date(at).toISOString(),
      event,
      addresses: addresses.map(formatIP),
      ...(owner && { containerID: owner.containerID, ifName: owner.ifName }),
      ...(pod && { pod: `${pod.namespace}/${pod.name}` }),
      ...(claim !== undefined && { claim }),
    };
    if (this.#size > FILE_BYTES) this.#turn();
    const line = `${JSON.stringify(chapter)}\n`;
    this.#size += writeSync(this.#fd, line);
  }

  /** What has happened to an address, the oldest first. */
  of(address: IP): Chapter[] {
    const text = formatIP(address);
    return this.#files().flatMap((file) => {
      const lines = readFileSync(join(this.#directory, file), 'utf8').split('\n');
      // Parsing a line costs ten times what looking at it does.
      return lines.flatMap((line) => (line.includes(`"${text}"`) ? (parsed(line, text) ?? []) : []));
    });
  }

  close(): void {
    closeSync(this.#fd);
  }

  #path(): string {
    return join(this.#directory, 'history.jsonl');
  }

  /** The oldest first, the one that is written last. */
  #files(): string[] {
    const older = readdirSync(this.#directory).filter((file) => /^history-\d+\.jsonl$/.test(file));
    return [...older.sort(byNumber), 'history.jsonl'];
  }

  #turn(): void {
    closeSync(this.#fd);
    renameSync(this.#path(), join(this.#directory, `history-${Date.now()}.jsonl`));
    for (const file of this.#files().slice(0, -1 - FILES_KEPT))
      rmSync(join(this.#directory, file), { force: true });
    this.#fd = openSync(this.#path(), 'a', 0o600);
    this.#size = 0;
  }
}

/** A line that a crash has cut off is none. */
function parsed(line: string, address: string): Chapter | undefined {
  try {
    const chapter: Chapter = JSON.parse(line);
    return chapter.addresses.includes(address) ? chapter : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function byNumber(a: string, b: string): number {
  return Number(/\d+/.exec(a)?.[0]) - Number(/\d+/.exec(b)?.[0]);
}
