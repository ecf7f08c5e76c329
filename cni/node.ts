import type { Attached, AttachmentSpec } from '../src/attach/attachment.ts';
import type { Remains } from '../src/attach/detach.ts';
import type { AttachmentRecord, RecordStore } from '../src/attach/record.ts';
import type { Log } from '../src/log.ts';
import type { AddressSource } from './addresses.ts';
import type { Turns } from './turns.ts';

/** What the verbs work on: the node as the agent sees it, or as the bundle sees it while no agent runs. */
export interface Node {
  /** For networks without a delegated IPAM plugin. */
  readonly addresses: AddressSource;
  readonly records: RecordStore;
  /** Makes the pod's interface and its record; on failure both are gone again. */
  attach(spec: AttachmentSpec): Promise<Attached>;
  /** Takes everything back that `attach` made, and the record last; what is gone already is no failure. */
  detach(record: AttachmentRecord): Promise<void>;
  /** Takes back what an attachment left behind without a record. */
  sweep(remains: Remains): Promise<void>;
  /** @throws {Error} Naming what is not as the record says: an address, a route, a program, … */
  check(record: AttachmentRecord): Promise<void>;
  /** @throws {CniError} Code 50 if pods cannot be attached now, 51 if those that are suffer too. */
  status(): Promise<void>;
  /** What concerns one attachment is done in turn. */
  readonly turns: Turns;
  readonly log: Log;
}
