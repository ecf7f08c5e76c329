import type { Node } from '../../cni/node.ts';
import { attach } from '../attach/attach.ts';
import { check } from '../attach/check.ts';
import { detach, sweep } from '../attach/detach.ts';
import type { PodPrograms } from '../attach/podPrograms.ts';
import type { AttachmentRecord, RecordStore } from '../attach/record.ts';
import { recover } from '../attach/recover.ts';
import type { Log } from '../log.ts';

interface Undo {
  /** Takes back attachments of an earlier boot, or left half-way; tells which. */
  undo(records: readonly AttachmentRecord[]): Promise<AttachmentRecord[]>;
}

/** The node's interfaces, as the CNI verbs see them. */
export function attachmentsOf(hooks: {
  readonly records: RecordStore;
  readonly programs: PodPrograms;
  readonly log: Log;
}): Pick<Node, 'attach' | 'detach' | 'sweep' | 'check' | 'status'> & Undo {
  return {
    attach: async (spec) => attach(spec, hooks),
    detach: (record) => detach(record, hooks),
    sweep: (remains) => sweep(remains, hooks),
    check: async (record) => check(record, hooks),
    undo: (records) => recover(records, { ...hooks, now: Date.now() }),
    // An agent that answers can attach; whether there are addresses is for their source to say.
    status: async () => {},
  };
}
