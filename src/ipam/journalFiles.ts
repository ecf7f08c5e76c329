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
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tryLock } from '../ffi/flock.ts';
import { hasCode } from '../ffi/systemError.ts';

const synced = promisify(fdatasync);

/** `snapshot.json` is only ever replaced, `journal.jsonl` also grows. */
export type JournalFile = 'snapshot.json' | 'journal.jsonl';

/** All that a journal asks of a file system; a crash may come between any two of these, and at the lines in them. */
export interface JournalFiles {
  /** Where they are, for messages. */
  readonly directory: string;
  /** Undefined if there is no such file. */
  read(file: JournalFile): string | undefined;
  /** Cuts off the journal after so many bytes. */
  truncate(length: number): void;
  /** Adds to the journal. What is added is with the kernel: the death of this process does not undo it. */
  append(text: string): void;
  /** Resolves when all that was appended before the call is on the disk. */
  sync(): Promise<void>;
  /** The old file or the new one is on the disk, whenever a crash comes; the new one after the return. */
  replace(file: JournalFile, text: string): void;
  close(): void;
}

/** @throws {Error} If another process has them open. */
export function openJournalFiles(directory: string): JournalFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const lock = openSync(join(directory, 'lock'), 'a', 0o600);
  try {
    if (!tryLock(lock)) throw new Error(`Cannot open journal ${directory}: another process has it open`);
    const files = new Files(directory, lock);
    syncDirectory(directory);
    return files;
  } catch (error) {
    closeSync(lock);
    throw error;
  }
}

class Files implements JournalFiles {
  readonly directory: string;
  readonly #lock: number;
  #journal: number;

  constructor(directory: string, lock: number) {
    this.directory = directory;
    this.#lock = lock;
    this.#journal = this.#openJournal();
  }

  read(file: JournalFile): string | undefined {
    try {
      return readFileSync(join(this.directory, file), 'utf8');
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  truncate(length: number): void {
    ftruncateSync(this.#journal, length);
  }

  append(text: string): void {
    writeAll(this.#journal, text);
  }

  sync(): Promise<void> {
    return synced(this.#journal);
  }

  replace(file: JournalFile, text: string): void {
    const path = join(this.directory, file);
    const temporary = `${path}.new`;
    const fd = openSync(temporary, 'w', 0o600);
    try {
      writeAll(fd, text);
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncDirectory(this.directory);
    if (file !== 'journal.jsonl') return;
    closeSync(this.#journal);
    this.#journal = this.#openJournal();
  }

  close(): void {
    closeSync(this.#journal);
    closeSync(this.#lock);
  }

  #openJournal(): number {
    return openSync(join(this.directory, 'journal.jsonl'), 'a', 0o600);
  }
}

/** A disk that is nearly full takes the beginning, and says so only by the count. */
function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
