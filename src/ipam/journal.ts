import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { JournalFile, JournalFiles } from './journalFiles.ts';

/** After so many lines the state is written whole, and the journal begins anew. */
const LINES_PER_SNAPSHOT = 4096;

export interface JournalOptions<Entry, State> {
  /** Told the last snapshot, if there is one, and then each entry after it, while the journal opens. */
  restore(state: State): void;
  replay(entry: Entry): void;
  /** The state that all entries appended so far have made. */
  state(): State;
}

/** Somebody who waits for the disk. */
interface Waiting {
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * A list of entries on disk, one JSON object a line: `{"n":…,"sum":…,"entry":…}`. An entry is with the kernel when
 * {@link Journal.append} returns, so that only a power cut can lose it, and on the disk when that resolves; entries that
 * arrive while the disk is at work share the next fdatasync(2).
 *
 * `snapshot.json` holds the state after the entry `n`; what comes later stands in `journal.jsonl`. A crash can cut off the
 * last line, and a power cut can leave holes of zeros in all that was not yet synced: the journal ends there, for nothing
 * after it was answered for. Any other damage is an error.
 */
export class Journal<Entry, State> {
  readonly #files: JournalFiles;
  readonly #options: JournalOptions<Entry, State>;
  #n: number;
  #lines: number;
  #waiting: Waiting[] = [];
  #flushing = false;
  #broken = false;

  /**
   * @param files Closed with the journal, and also if this throws.
   * @throws {Error} If the journal is damaged other than by a crash.
   */
  constructor(files: JournalFiles, options: JournalOptions<Entry, State>) {
    this.#files = files;
    this.#options = options;
    try {
      const { n, lines, length } = this.#replay(this.#restore());
      files.truncate(length);
      this.#n = n;
      this.#lines = lines;
    } catch (error) {
      files.close();
      throw error;
    }
  }

  /**
   * Writes an entry that {@link JournalOptions.state} already counts in.
   *
   * @throws {Error} If the disk did not take it. Whether it is there is then unknown until the next one is.
   */
  append(entry: Entry): Promise<void> {
    this.#write(lineOf(++this.#n, entry));
    return this.#durable();
  }

  /** After a failure, tries again to bring the disk up to the state. */
  settle(): Promise<void> {
    return this.#broken ? this.#durable() : Promise.resolve();
  }

  /** Waits for what is on its way. */
  async close(): Promise<void> {
    while (this.#flushing) await new Promise((resolve) => setImmediate(resolve));
    this.#files.close();
  }

  #write(line: string): void {
    // After a failure nobody knows what the file holds; the state does, and the snapshot to come is all of it.
    if (this.#broken) return;
    try {
      this.#files.append(line);
      this.#lines++;
    } catch {
      this.#broken = true;
    }
  }

  #durable(): Promise<void> {
    const done = new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    if (!this.#flushing) void this.#flush();
    return done;
  }

  async #flush(): Promise<void> {
    this.#flushing = true;
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      try {
        if (this.#broken || this.#lines > LINES_PER_SNAPSHOT) this.#snapshot();
        else await this.#files.sync();
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        this.#broken = true;
        const reason = `Cannot write ${this.#path('journal.jsonl')}: ${messageOf(error)}`;
        for (const { reject } of waiting) reject(new Error(reason, { cause: error }));
      }
    }
    this.#flushing = false;
  }

  #snapshot(): void {
    const state = this.#options.state();
    const content = { n: this.#n, sum: sumOf(this.#n, JSON.stringify(state)), state };
    this.#files.replace('snapshot.json', `${JSON.stringify(content)}\n`);
    // Lines that the snapshot has overtaken are skipped, should a crash come before they are gone.
    this.#files.replace('journal.jsonl', '');
    this.#lines = 0;
    this.#broken = false;
  }

  /** The number of the last entry in the snapshot. */
  #restore(): number {
    const text = this.#files.read('snapshot.json');
    if (text === undefined) return 0;
    const { n, sum, state } = parseRecord(text);
    if (typeof n !== 'number' || sum !== sumOf(n, JSON.stringify(state)))
      throw new Error(`Cannot read ${this.#path('snapshot.json')}: it is damaged`);
    this.#options.restore(state as State);
    return n;
  }

  #replay(since: number): { n: number; lines: number; length: number } {
    const text = this.#files.read('journal.jsonl') ?? '';
    const hole = text.indexOf('\0');
    const whole = hole < 0 ? text : text.slice(0, hole);
    const complete = whole.slice(0, whole.lastIndexOf('\n') + 1);
    const lines = complete.split('\n').slice(0, -1);
    let n = since;
    for (const [index, line] of lines.entries()) {
      const record = parseRecord(line);
      const number = Number(record.n);
      const overtaken = number <= since;
      if (record.sum !== sumOf(number, JSON.stringify(record.entry)) || !(overtaken || number === n + 1)) {
        const reason = `line ${index + 1} is damaged (value ${JSON.stringify(line.slice(0, 80))})`;
        throw new Error(`Cannot read journal ${this.#path('journal.jsonl')}: ${reason}`);
      }
      if (overtaken) continue;
      n = number;
      this.#options.replay(record.entry as Entry);
    }
    return { n, lines: lines.length, length: Buffer.byteLength(complete) };
  }

  #path(file: JournalFile): string {
    return join(this.#files.directory, file);
  }
}

function lineOf(n: number, entry: unknown): string {
  const text = JSON.stringify(entry);
  return `{"n":${n},"sum":"${sumOf(n, text)}","entry":${text}}\n`;
}

/** Enough to tell damage, not forgery. */
function sumOf(n: number, text: string | undefined): string {
  return createHash('sha256').update(`${n} ${text}`).digest('hex').slice(0, 8);
}

function parseRecord(text: string): { n?: unknown; sum?: unknown; entry?: unknown; state?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}
