import { createHash } from 'node:crypto';
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../errors.ts';
import { tryLock } from '../ffi/flock.ts';
import { hasCode } from '../ffi/systemError.ts';

/** After so many lines the state is written whole, and the journal begins anew. */
const LINES_PER_SNAPSHOT = 4096;

const synced = promisify(fdatasync);

export interface JournalOptions<Entry, State> {
  /** Told the last snapshot, if there is one, and then each entry after it, while the journal opens. */
  restore(state: State): void;
  replay(entry: Entry): void;
  /** The state that all entries appended so far have made. */
  state(): State;
}

/** One entry on its way to the disk. */
interface Waiting {
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * A list of entries on disk, one JSON object a line: `{"n":…,"sum":…,"entry":…}`. An entry is with the kernel when
 * {@link Journal.append} returns, so that only a power cut can lose it, and on the disk when that resolves; entries
 * that arrive together share one fdatasync(2).
 *
 * `snapshot.json` holds the state after the entry `n`; what comes later stands in `journal.jsonl`. A crash
 * can cut off the last line, which then was never answered for, and is dropped. Any other damage is an error.
 */
export class Journal<Entry, State> {
  readonly #directory: string;
  readonly #options: JournalOptions<Entry, State>;
  readonly #lock: number;
  #fd: number;
  #n: number;
  #lines: number;
  #waiting: Waiting[] = [];
  #flushing = false;
  #broken = false;

  /**
   * @throws {Error} If another process has the journal open, or if it is damaged other than by a crash.
   */
  constructor(directory: string, options: JournalOptions<Entry, State>) {
    this.#directory = directory;
    this.#options = options;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#lock = openSync(join(directory, 'lock'), 'a', 0o600);
    try {
      if (!tryLock(this.#lock))
        throw new Error(`Cannot open journal ${directory}: another process has it open`);
      const since = this.#restore();
      this.#fd = openSync(join(directory, 'journal.jsonl'), 'a', 0o600);
      syncDirectory(directory);
      const { n, lines, length } = this.#replay(since);
      ftruncateSync(this.#fd, length);
      this.#n = n;
      this.#lines = lines;
    } catch (error) {
      closeSync(this.#lock);
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
    const done = new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    if (!this.#flushing) void this.#flush();
    return done;
  }

  /** After a failure, tries again to bring the disk up to the state. */
  settle(): Promise<void> {
    if (!this.#broken) return Promise.resolve();
    const done = new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    if (!this.#flushing) void this.#flush();
    return done;
  }

  /** Waits for what is on its way. */
  async close(): Promise<void> {
    while (this.#flushing) await new Promise((resolve) => setImmediate(resolve));
    closeSync(this.#fd);
    closeSync(this.#lock);
  }

  #write(line: string): void {
    if (this.#broken) return;
    try {
      writeSync(this.#fd, line);
      this.#lines++;
    } catch {
      this.#broken = true;
    }
  }

  async #flush(): Promise<void> {
    this.#flushing = true;
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      try {
        // After a failure nobody knows what the file holds; the state does, and a snapshot is all of it.
        if (this.#broken || this.#lines > LINES_PER_SNAPSHOT) this.#snapshot();
        else await synced(this.#fd);
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        this.#broken = true;
        const reason = `Cannot write ${join(this.#directory, 'journal.jsonl')}: ${messageOf(error)}`;
        for (const { reject } of waiting) reject(new Error(reason, { cause: error }));
      }
    }
    this.#flushing = false;
  }

  #snapshot(): void {
    const state = this.#options.state();
    const path = join(this.#directory, 'snapshot.json');
    replaceFile(path, `${JSON.stringify({ n: this.#n, sum: sumOf(this.#n, state), state })}\n`);
    // Lines that the snapshot has overtaken are skipped, should a crash come before they are gone.
    const fresh = replaceFile(join(this.#directory, 'journal.jsonl'), '');
    closeSync(this.#fd);
    this.#fd = openSync(fresh, 'a', 0o600);
    this.#lines = 0;
    this.#broken = false;
  }

  /** The number of the last entry in the snapshot. */
  #restore(): number {
    const path = join(this.#directory, 'snapshot.json');
    const text = readIfThere(path);
    if (text === undefined) return 0;
    const { n, sum, state } = parseRecord(text);
    if (typeof n !== 'number' || sum !== sumOf(n, state))
      throw new Error(`Cannot read ${path}: it is damaged`);
    this.#options.restore(state as State);
    return n;
  }

  #replay(since: number): { n: number; lines: number; length: number } {
    const path = join(this.#directory, 'journal.jsonl');
    const text = readIfThere(path) ?? '';
    const complete = text.slice(0, text.lastIndexOf('\n') + 1);
    const lines = complete.split('\n').slice(0, -1);
    let n = since;
    for (const [index, line] of lines.entries()) {
      const record = parseRecord(line);
      const number = Number(record.n);
      const overtaken = number <= since;
      if (record.sum !== sumOf(number, record.entry) || !(overtaken || number === n + 1)) {
        const reason = `line ${index + 1} is damaged (value ${JSON.stringify(line.slice(0, 80))})`;
        throw new Error(`Cannot read journal ${path}: ${reason}`);
      }
      if (overtaken) continue;
      n = number;
      this.#options.replay(record.entry as Entry);
    }
    return { n, lines: lines.length, length: Buffer.byteLength(complete) };
  }
}

function lineOf(n: number, entry: unknown): string {
  return `${JSON.stringify({ n, sum: sumOf(n, entry), entry })}\n`;
}

/** Enough to tell damage, not forgery. */
function sumOf(n: number, content: unknown): string {
  return createHash('sha256')
    .update(`${n} ${JSON.stringify(content)}`)
    .digest('hex')
    .slice(0, 8);
}

function parseRecord(text: string): { n?: unknown; sum?: unknown; entry?: unknown; state?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** The old file or the new one, also after a crash. */
function replaceFile(path: string, text: string): string {
  const temporary = `${path}.new`;
  const fd = openSync(temporary, 'w', 0o600);
  try {
    writeSync(fd, text);
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  syncDirectory(dirname(path));
  return path;
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
