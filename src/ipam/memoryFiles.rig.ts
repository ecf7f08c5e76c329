import type { JournalFile, JournalFiles } from './journalFiles.ts';

/** What is left of the unsynced end of the journal after a power cut. */
export type Cut = 'nothing' | 'half' | 'all' | 'hole';

/**
 * A disk whose process, power or surface may give way at any moment. A process that dies takes nothing with it but the
 * end of the line it was writing; a power cut takes what was not synced, or a piece from the midst of it.
 */
export class MemoryDisk {
  readonly directory = 'memory';
  readonly #files = new Map<JournalFile, string>();
  /** So much of the journal has been synced. */
  #synced = 0;
  #session: Session | undefined;
  #crashAfter = Number.POSITIVE_INFINITY;
  #failing = 0;

  /** Whether the process that has it open still lives. */
  get alive(): boolean {
    return this.#session?.alive ?? false;
  }

  /** The next `count` writes and syncs fail, as on a full disk. */
  fail(count: number): void {
    this.#failing = count;
  }

  /** The process dies in the midst of the write after the next `count` ones. */
  crashAfter(count: number): void {
    this.#crashAfter = count;
  }

  /** Nothing of the kind is going to happen. */
  mend(): void {
    this.#crashAfter = Number.POSITIVE_INFINITY;
    this.#failing = 0;
  }

  open(): JournalFiles {
    this.kill();
    this.mend();
    const session = new Session();
    this.#session = session;
    return {
      directory: this.directory,
      read: (file) => this.#files.get(file),
      truncate: (length) => {
        this.#begin(session);
        this.#set('journal.jsonl', this.#journal.slice(0, length));
      },
      append: (text) => {
        this.#begin(session, text);
        this.#set('journal.jsonl', this.#journal + text);
      },
      sync: () => {
        this.#begin(session);
        const length = this.#journal.length;
        return session.work(() => {
          this.#synced = Math.max(this.#synced, length);
        });
      },
      replace: (file, text) => {
        this.#begin(session);
        this.#set(file, text);
        if (file === 'journal.jsonl') this.#synced = text.length;
      },
      close: () => this.kill(),
    };
  }

  /** The disk does what it was asked to: until then, syncs do not return. */
  finish(): void {
    this.#session?.finish();
  }

  /** The process is gone; the kernel keeps what it was given. */
  kill(): void {
    if (this.#session) this.#session.alive = false;
    this.#session = undefined;
  }

  cutPower(cut: Cut): void {
    this.kill();
    const journal = this.#journal;
    const [kept, lost] = [journal.slice(0, this.#synced), journal.slice(this.#synced)];
    const middle = lost.length >> 1;
    const left = {
      nothing: '',
      half: lost.slice(0, middle),
      all: lost,
      hole: lost.slice(0, middle >> 1) + '\0'.repeat(middle) + lost.slice((middle >> 1) + middle),
    }[cut];
    this.#set('journal.jsonl', kept + left);
    this.#synced = this.#journal.length;
  }

  get #journal(): string {
    return this.#files.get('journal.jsonl') ?? '';
  }

  #set(file: JournalFile, text: string): void {
    this.#files.set(file, text);
    if (file === 'journal.jsonl') this.#synced = Math.min(this.#synced, text.length);
  }

  /** @throws If it is not to be: half of the text may then be written all the same. */
  #begin(session: Session, text = ''): void {
    if (session.alive && this.#failing > 0) {
      this.#failing--;
      throw new Error('no space left on device');
    }
    if (session.alive && this.#crashAfter-- <= 0) {
      this.#set('journal.jsonl', this.#journal + text.slice(0, text.length >> 1));
      this.kill();
    }
    if (!session.alive) throw new Error('the process is dead');
  }
}

/** A process that has the files open. */
class Session {
  alive = true;
  #pending: (() => void)[] = [];

  /** Never resolves once the process is dead. */
  work(done: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.#pending.push(() => {
        done();
        resolve();
      });
    });
  }

  finish(): void {
    const pending = this.#pending;
    this.#pending = [];
    for (const done of pending) if (this.alive) done();
  }
}
