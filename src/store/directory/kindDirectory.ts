import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf } from '../../errors.ts';
import { hasCode } from '../../ffi/systemError.ts';
import { definitionOf, type Kind, type ObjectOf } from '../kinds/registry.ts';
import { EventLog } from './eventLog.ts';
import { readObject } from './file.ts';

/** What is known of one file: the state in which it was read, the last object it held, what is wrong now. */
interface Entry<T> {
  readonly stamp: string;
  readonly object?: T | undefined;
  readonly problem?: string | undefined;
}

/** So long may a scan hold up everything else in the process. */
const SLICE_MS = 5;

/** A file's times do not tell apart two writes within a tick of the kernel's clock, of up to 10 ms. */
const TICK_MS = 20;

/** The files of one kind, as they were when last looked at. */
export class KindDirectory<K extends Kind> {
  readonly path: string;
  readonly log = new EventLog<ObjectOf<K>>();
  readonly #kind: K;
  readonly #root: string;
  readonly #report: (problem: string) => void;
  readonly #entries = new Map<string, Entry<ObjectOf<K>>>();
  #last: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(root: string, kind: K, report: (problem: string) => void) {
    this.#root = root;
    this.#kind = kind;
    this.#report = report;
    this.path = join(root, kind);
  }

  objects(): ObjectOf<K>[] {
    return [...this.#entries.values()].flatMap(({ object }) => (object ? [object] : []));
  }

  problems(): string[] {
    return [...this.#entries.values()].flatMap(({ problem }) => (problem ? [problem] : []));
  }

  at(path: string): Entry<ObjectOf<K>> | undefined {
    return this.#entries.get(path);
  }

  /** The directories that a change may come from. */
  directories(): string[] {
    const inner = definitionOf(this.#kind).namespaced ? subdirectories(this.path) : [];
    return [this.path, ...inner];
  }

  /** Looks at every file. A scan that begins after the call counts for all who ask meanwhile. */
  scan(): Promise<void> {
    this.#next ??= this.#afterwards(() => {
      this.#next = undefined;
      return this.#scan();
    });
    return this.#next;
  }

  /** Looks at these files only. */
  refresh(paths: Iterable<string>): Promise<void> {
    return this.#afterwards(async () => {
      for (const path of paths) this.#look(path);
    });
  }

  #afterwards(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  async #scan(): Promise<void> {
    // A root that is gone is a mount that is gone, not the wish to delete everything in it.
    statSync(this.#root);
    const paths = this.directories().flatMap(files);
    const present = new Set(paths);
    let sliceEnd = performance.now() + SLICE_MS;
    for (const path of [...paths, ...[...this.#entries.keys()].filter((path) => !present.has(path))]) {
      this.#look(path);
      if (performance.now() > sliceEnd) {
        await new Promise((resolve) => setImmediate(resolve));
        sliceEnd = performance.now() + SLICE_MS;
      }
    }
  }

  #look(path: string): void {
    const before = this.#entries.get(path);
    try {
      const stamp = stampOf(path);
      if (stamp !== '' && stamp === before?.stamp) return;
      const misplaced = this.#misplaced(path);
      if (misplaced) {
        this.#refuse(path, `Cannot accept ${path}: ${misplaced}`);
        return;
      }
      const object = readObject(path, this.#kind) as ObjectOf<K>;
      this.#entries.set(path, { stamp, object });
      if (before?.object === undefined) this.log.append({ type: 'added', object });
      else if (before.object.metadata.resourceVersion !== object.metadata.resourceVersion) {
        this.log.append({ type: 'modified', before: before.object, object });
      }
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENOTDIR')) this.#forget(path);
      else this.#refuse(path, messageOf(error));
    }
  }

  #misplaced(path: string): string | undefined {
    if (!path.endsWith('.yaml')) return 'expected a name that ends in .yaml';
    const { namespaced } = definitionOf(this.#kind);
    const expected = namespaced ? dirname(dirname(path)) : dirname(path);
    return expected === this.path
      ? undefined
      : `expected ${this.path}/${namespaced ? '<namespace>/' : ''}<name>.yaml`;
  }

  #forget(path: string): void {
    const object = this.#entries.get(path)?.object;
    this.#entries.delete(path);
    if (object) this.log.append({ type: 'deleted', object });
  }

  /** The last good object stays in force. */
  #refuse(path: string, problem: string): void {
    const before = this.#entries.get(path);
    const kept = before?.object ? `${problem}; its last valid version stays in force` : problem;
    this.#entries.set(path, { stamp: '', object: before?.object, problem: kept });
    if (before?.problem !== kept) this.#report(kept);
  }
}

function stampOf(path: string): string {
  const { ino, size, mtimeNs, mtimeMs, ctimeNs } = statSync(path, { bigint: true });
  const fresh = Date.now() - Number(mtimeMs) < TICK_MS;
  return fresh ? '' : `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}

function subdirectories(path: string): string[] {
  return entries(path)
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(({ name }) => join(path, name));
}

/** Editors' and our own temporary files begin with a dot, or end in something else. */
function files(path: string): string[] {
  return entries(path)
    .filter(
      (entry) => !entry.isDirectory() && !entry.name.startsWith('.') && /\.(yaml|yml|json)$/.test(entry.name),
    )
    .map(({ name }) => join(path, name));
}

function entries(path: string) {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
