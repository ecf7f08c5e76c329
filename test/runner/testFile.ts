import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Told } from './reporter.ts';

const REPORTER = join(import.meta.dirname, 'reporter.ts');

/** In milliseconds. */
export interface Limits {
  /** A test or a hook that takes so long is stuck. */
  readonly test: number;
  /** A file that has not ended so long after its last test holds on to something. */
  readonly linger: number;
}

/** The slowest test takes a minute on a quiet machine. */
const LIMITS: Limits = { test: 600_000, linger: 60_000 };
/** From SIGTERM, upon which files remove their namespaces, to SIGKILL. */
const FAREWELL_MS = 5_000;
/** Characters that are kept of what a file prints. */
const OUTPUT_LIMIT = 20_000;

export interface Failure {
  /** The suites, and the test. */
  readonly path: readonly string[];
  readonly error: string;
}

export interface Result {
  readonly file: string;
  readonly ms: number;
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
  /** What the file and its helpers printed, the end of it. */
  readonly output: string;
}

/** A test file that runs, in a process group of its own: what it has left running ends with it. */
export class TestFile {
  readonly file: string;
  readonly result: Promise<Result>;
  readonly #child: ChildProcess;
  readonly #limits: Limits;
  readonly #began = performance.now();
  readonly #failures: Failure[] = [];
  #path: string[] = [];
  #passed = 0;
  #skipped = 0;
  #output = '';
  #limit: NodeJS.Timeout | undefined;

  constructor(file: string, limits = LIMITS) {
    this.file = file;
    this.#limits = limits;
    const words = ['--import', 'tsx', `--test-reporter=${REPORTER}`, file];
    this.#child = spawn(process.execPath, words, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_LIMIT);
      });
    }
    this.#child.on('message', (told: Told) => this.#hear(told));
    this.result = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        clearTimeout(this.#limit);
        this.#signal('SIGKILL');
        // What it said last may be read a moment after its end; a grandchild may hold its output open for ever.
        setTimeout(() => resolve(this.#ended(code ?? signal)), 50);
      });
    });
    this.#allow(limits.test);
  }

  /** What it is at: the suites, and the test. */
  get at(): string {
    return this.#path.join(' > ') || 'nothing yet';
  }

  /** Ends it, with all that it has started. */
  end(reason: string): void {
    this.#failures.push({ path: [...this.#path], error: reason });
    this.#signal('SIGTERM', this.#child.pid ?? 0);
    setTimeout(() => this.#signal('SIGKILL'), FAREWELL_MS).unref();
  }

  #hear(told: Told): void {
    const mayBeLast = told.nesting === 0 && told.type !== 'began';
    this.#allow(mayBeLast ? this.#limits.linger : this.#limits.test);
    this.#path = [...this.#path.slice(0, told.nesting), told.name];
    if (told.type === 'passed') this.#passed++;
    if (told.type === 'skipped') this.#skipped++;
    if (told.type === 'failed') this.#failures.push({ path: this.#path, error: told.error });
  }

  #allow(ms: number): void {
    clearTimeout(this.#limit);
    this.#limit = setTimeout(() => this.end(`nothing has happened for ${ms / 1000} s: ended`), ms);
  }

  #ended(status: number | string | null): Result {
    if (status !== 0 && this.#failures.length === 0) {
      this.#failures.push({ path: this.#path, error: `the process ended with ${status}` });
    }
    return {
      file: this.file,
      ms: performance.now() - this.#began,
      passed: this.#passed,
      skipped: this.#skipped,
      failures: this.#failures,
      output: this.#output,
    };
  }

  /** @param pid Minus the process group where absent. */
  #signal(signal: NodeJS.Signals, pid = -(this.#child.pid ?? 0)): void {
    try {
      if (pid !== 0) process.kill(pid, signal);
    } catch {
      // It has ended.
    }
  }
}
