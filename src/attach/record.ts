import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { because, messageOf } from '../errors.ts';
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
 */
export class RecordStore {
  readonly #directory: string;

  /** @param stateDir `/var/lib/tombolo`. */
  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'attachments');
  }

  /** @throws {Error} If the file cannot be written; the former one is then still whole. */
  write(record: AttachmentRecord): void {
    const path = this.#path(record.spec.id);
    const temporary = `${path}.${process.pid}.new`;
    try {
      this.#create(temporary, `${JSON.stringify(record)}\n`);
      renameSync(temporary, path);
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
    const path = this.#path(id);
    if (!existsSync(path)) return undefined;
    const { records } = this.#load([basename(path)]);
    return records[0];
  }

  /** Every record; damaged files are renamed to `<file>.damaged` and named with the reason. */
  list(): { records: AttachmentRecord[]; damaged: DamagedRecord[] } {
    try {
      return this.#load(readdirSync(this.#directory).filter((file) => /^[0-9a-f]{11}\.json$/.test(file)));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { records: [], damaged: [] };
      throw because(`list attachment records in ${this.#directory}`, error);
    }
  }

  /** Also what a process that was killed while writing has left. Once more does nothing. */
  remove(id: string): void {
    try {
      rmSync(this.#path(id), { force: true });
      for (const file of readdirSync(this.#directory)) {
        if (file.startsWith(`${id}.json.`) && file.endsWith('.new')) {
          rmSync(join(this.#directory, file), { force: true });
        }
      }
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      throw because(`remove attachment record ${this.#path(id)}`, error);
    }
  }

  #path(id: string): string {
    if (!/^[0-9a-f]{11}$/.test(id)) {
      throw new Error(`Cannot name attachment record: expected 11 hex digits (value ${JSON.stringify(id)})`);
    }
    return join(this.#directory, `${id}.json`);
  }

  #load(files: string[]): { records: AttachmentRecord[]; damaged: DamagedRecord[] } {
    const records: AttachmentRecord[] = [];
    const damaged: DamagedRecord[] = [];
    for (const file of files) {
      const path = join(this.#directory, file);
      let text: string;
      try {
        text = readFileSync(path, 'utf8');
      } catch (error) {
        if (hasCode(error, 'ENOENT')) continue;
        throw because(`read attachment record ${path}`, error);
      }
      try {
        records.push(readRecord(text, file.slice(0, -'.json'.length)));
      } catch (error) {
        renameSync(path, `${path}.damaged`);
        damaged.push({ file: `${path}.damaged`, reason: messageOf(error) });
      }
    }
    return { records, damaged };
  }
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
