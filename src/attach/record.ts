import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { because, messageOf } from '../errors.ts';
import { exchangeFiles } from '../ffi/exchange.ts';
import { hasCode } from '../ffi/systemError.ts';
import { type Attached, type AttachmentSpec, hostLinkName } from './attachment.ts';
import { readRecord, type SpecText, writeSpec } from './recordText.ts';

/** The state of a device before it was lent to a pod. */
export interface OriginalDevice {
  readonly name: string;
  readonly mac: string | undefined;
  readonly permanentMac: string | undefined;
  readonly mtu: number;
  readonly up: boolean;
  readonly alias: string | undefined;
  readonly pciId: string | undefined;
  /** Of a virtual device, which dies with a namespace; hardware falls back to the node. */
  readonly kind: string | undefined;
  readonly addresses: readonly {
    readonly address: string;
    readonly noDad: boolean;
    readonly scope: string;
  }[];
  readonly routes: readonly OriginalRoute[];
}

export interface OriginalRoute {
  readonly prefix: string;
  readonly table: number;
  readonly protocol: number;
  readonly scope: string | undefined;
  readonly priority: number | undefined;
  readonly preferredSource: string | undefined;
  readonly gateway: string | undefined;
  readonly onLink: boolean;
  readonly mtu: number | undefined;
}

/** One attachment, as `<stateDir>/attachments/<id>.json` keeps it. All values are plain JSON. */
export interface AttachmentRecord {
  readonly version: 1;
  readonly state: 'attaching' | 'attached' | 'detaching';
  readonly spec: SpecText;
  /** Of the running kernel: after a reboot nothing of an attachment is left but its record. */
  readonly bootId: string;
  /** Device and inode of the pod's namespace: whether a path still means the same one. */
  readonly namespace: { readonly device: number; readonly inode: number };
  /** Name of the host end; only veths have one. */
  readonly hostLink?: string | undefined;
  /** When it was written: ISO 8601. */
  readonly time: string;
  /** Of the pod's namespace, in decimal; `undefined` before Linux 5.14. */
  readonly netnsCookie?: string | undefined;
  /** What was made, in the state `attached`. */
  readonly attached?: Pick<Attached, 'host' | 'pod'> | undefined;
  /** Only for a NIC. */
  readonly original?: OriginalDevice | undefined;
}

export interface DamagedRecord {
  readonly file: string;
  readonly reason: string;
}

/**
 * The attachments of a node, one file each, always whole.
 *
 * They outlive the process, not a power cut: no fsync, which costs more than all of an attachment (0.4 ms twice,
 * 10 ms on a busy disk) and would save nothing. After a power cut there is nothing to undo in the kernel, the
 * addresses are in IPAM's own journal, and a file that was cut short is set aside as damaged. See docs/adr/0006.
 *
 * The disk is what counts, since the plugin writes there too while no agent answers. What has been read is remembered
 * as long as the disk says that it is as it was: a file by its inode and time, all of them by the time of the directory, in
 * which every change is a rename. (A list misses a change that comes in the same tick of the clock as one of our own, 4 ms
 * before Linux 6.13, until there is another.)
 */
export class RecordStore {
  readonly #directory: string;
  readonly #known = new Map<string, { readonly stamp: string; readonly record: AttachmentRecord }>();
  /** The time of the directory, where all that is in it is known. */
  #listed: bigint | undefined;
  /** Files that a killed writer has left, as far as there were any then. */
  #halves: readonly string[] = [];

  /** @param stateDir `/var/lib/tombolo`. */
  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'attachments');
  }

  /** @throws {Error} If the file cannot be written; the former one is then still whole. */
  write(record: AttachmentRecord): void {
    const { id } = record.spec;
    const path = this.#path(id);
    const temporary = `${path}.${process.pid}.new`;
    try {
      this.#change(() => {
        this.#create(temporary, `${JSON.stringify(record)}\n`);
        const stamp = stampOf(temporary);
        replace(path, temporary);
        if (stamp !== undefined) this.#known.set(id, { stamp, record });
      });
    } catch (error) {
      throw because(`write attachment record ${path}`, error);
    }
  }

  #create(path: string, text: string): void {
    try {
      writeFileSync(path, text, { mode: 0o600 });
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(path, text, { mode: 0o600 });
    }
  }

  /** `undefined` if there is none. A damaged one is set aside and counts as none. */
  read(id: string): AttachmentRecord | undefined {
    const found = this.#load(id);
    return found && 'spec' in found ? found : undefined;
  }

  /** Every record; damaged files are renamed to `<file>.damaged` and named with the reason. */
  list(): { records: AttachmentRecord[]; damaged: DamagedRecord[] } {
    const damaged = this.#isListed() ? [] : this.#loadAll();
    return { records: [...this.#known.values()].map(({ record }) => record), damaged };
  }

  /** Also what a process that was killed while writing has left. Once more does nothing. */
  remove(id: string): void {
    const path = this.#path(id);
    try {
      const halves = this.#isListed() ? this.#halves : halvesAmong(readdirSync(this.#directory));
      this.#change(() => {
        rmSync(path, { force: true });
        for (const file of halves) {
          if (file.startsWith(`${id}.`)) rmSync(join(this.#directory, file), { force: true });
        }
      });
      this.#known.delete(id);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      throw because(`remove attachment record ${path}`, error);
    }
  }

  #path(id: string): string {
    if (!/^[0-9a-f]{11}$/.test(id)) {
      throw new Error(`Cannot name attachment record: expected 11 hex digits (value ${JSON.stringify(id)})`);
    }
    return join(this.#directory, `${id}.json`);
  }

  /** Whether the directory is as it was when all of it was read, but for our own changes. */
  #isListed(): boolean {
    return this.#listed !== undefined && this.#listed === timeOf(this.#directory);
  }

  #change(work: () => void): void {
    const listed = this.#isListed();
    work();
    if (listed) this.#listed = timeOf(this.#directory);
  }

  /** Before it reads: what comes meanwhile is seen the next time. */
  #loadAll(): DamagedRecord[] {
    const time = timeOf(this.#directory);
    let files: string[];
    try {
      files = readdirSync(this.#directory);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw because(`list attachment records in ${this.#directory}`, error);
      files = [];
    }
    const ids = files.filter((file) => /^[0-9a-f]{11}\.json$/.test(file)).map((file) => file.slice(0, 11));
    const found = new Set(ids);
    for (const id of this.#known.keys()) if (!found.has(id)) this.#known.delete(id);
    const damaged = ids.map((id) => this.#load(id)).filter((each) => each !== undefined && 'reason' in each);
    this.#halves = halvesAmong(files);
    this.#listed = time;
    return damaged;
  }

  #load(id: string): AttachmentRecord | DamagedRecord | undefined {
    const path = this.#path(id);
    const known = this.#known.get(id);
    const stamp = stampOf(path);
    if (stamp !== undefined && known?.stamp === stamp) return known.record;
    this.#known.delete(id);
    const text = stamp === undefined ? undefined : textOf(path);
    if (stamp === undefined || text === undefined) return undefined;
    try {
      const record = readRecord(text, id);
      this.#known.set(id, { stamp, record });
      return record;
    } catch (error) {
      renameSync(path, `${path}.damaged`);
      return { file: `${path}.damaged`, reason: messageOf(error) };
    }
  }
}

/**
 * Puts a file in the place of another, or of none. By rename(2) alone, ext4 would begin to write the new one out
 * (ext4_alloc_da_blocks, since many forget fsync), and the next to replace or remove it would wait for the disk: up to 10 ms.
 * These files mostly never need to get there. A process killed in between leaves the former one beside it, under a name that `remove` knows.
 */
function replace(path: string, by: string): void {
  try {
    exchangeFiles(by, path);
    unlinkSync(by);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'EINVAL', 'ENOSYS')) throw error;
    renameSync(by, path);
  }
}

/** Changes whenever the file is replaced; `undefined` if there is none. */
function stampOf(path: string): string | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats && `${stats.ino} ${stats.mtimeNs} ${stats.size}`;
}

/** In nanoseconds; `undefined` if there is no such directory. */
function timeOf(directory: string): bigint | undefined {
  return statSync(directory, { bigint: true, throwIfNoEntry: false })?.mtimeNs;
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw because(`read attachment record ${path}`, error);
  }
}

function halvesAmong(files: readonly string[]): string[] {
  return files.filter((file) => /^[0-9a-f]{11}\.json\.\d+\.new$/.test(file));
}

/** The record of an attachment that is about to be made. */
export function newRecord(
  spec: AttachmentSpec,
  rest: Pick<AttachmentRecord, 'namespace' | 'netnsCookie' | 'original'>,
): AttachmentRecord {
  return {
    version: 1,
    state: 'attaching',
    spec: writeSpec(spec),
    time: new Date().toISOString(),
    bootId: bootId(),
    hostLink: spec.kind.kind === 'veth' ? hostLinkName(spec.id) : undefined,
    ...rest,
  };
}

let boot: string | undefined;

/** Of the running kernel; another one knows nothing of what this one was told. */
export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}
