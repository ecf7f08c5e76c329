import { setImmediate } from 'node:timers/promises';
import { HOST_LINK_PREFIX } from '../attach/attachment.ts';
import type { RecordStore } from '../attach/record.ts';
import type { DatapathPodPrograms } from '../datapath/podPrograms.ts';
import { uplinksAreServed } from '../datapath/uplink.ts';
import { hasCode } from '../ffi/systemError.ts';
import type { Log } from '../log.ts';
import { findLink } from '../netlink/link.ts';
import { type Monitor, monitor } from '../netlink/monitor.ts';
import type { Netlink } from '../netlink/socket.ts';
import { settling } from './settling.ts';

/** Who clears one device mostly clears them all. */
const SETTLE_MS = 100;

/** What the kernel has refused is tried again after this. */
const RETRY_MS = 5_000;

/** Host ends that are mended in one turn of the event loop, of which one wait of the kernel is the most. */
const PORTION = 64;

export interface FilterWatchParts {
  readonly bpfDir: string;
  readonly netlink: Netlink;
  readonly records: Pick<RecordStore, 'list'>;
  readonly pods: Pick<DatapathPodPrograms, 'mendHostEnds'>;
  /** Puts the programs of the uplinks where they belong. */
  readonly nodeChanged: () => void;
  readonly log: Log;
}

/**
 * Puts programs back that somebody has taken off uplinks or host ends of pods, as the tools of other networks do when they leave.
 * The kernel tells of each filter that is deleted, so that nobody has to look.
 */
export function watchFilters({
  bpfDir,
  netlink,
  records,
  pods,
  nodeChanged,
  log,
}: FilterWatchParts): Monitor {
  const touched = new Set<number>();
  let all = false;

  function mendUplinks(): void {
    if (uplinksAreServed(bpfDir, netlink)) return;
    try {
      nodeChanged();
    } catch (error) {
      // A device that is gone: whoever follows the node's devices does what there is to do.
      if (hasCode(error, 'ENODEV')) return;
      throw error;
    }
    log.warning('programs were taken off an uplink, and are back');
  }

  async function mendHostEnds(ids: readonly string[]): Promise<void> {
    const mended: string[] = [];
    for (let at = 0; at < ids.length; at += PORTION) {
      mended.push(...pods.mendHostEnds(netlink, ids.slice(at, at + PORTION)));
      await setImmediate();
    }
    if (mended.length === 0) return;
    log.warning('programs were taken off host ends of pods, and are back', {
      count: mended.length,
      ids: mended.slice(0, 5),
    });
  }

  const settle = settling(
    SETTLE_MS,
    async () => {
      const ids = all ? records.list().records.map(({ spec }) => spec.id) : hostEndsAmong(netlink, touched);
      touched.clear();
      all = false;
      await mendHostEnds(ids);
      mendUplinks();
    },
    (error) => {
      log.error('programs were taken off a device, and cannot be put back; it is tried again', { error });
      all = true;
      settle.later(RETRY_MS);
    },
  );
  const watch = monitor(['filter'], (event) => {
    if (event.kind === 'overrun') all = true;
    else if (event.kind === 'filter') touched.add(event.index);
    settle.soon();
  });
  const close = () => {
    watch.close();
    void settle.stop();
  };
  return { close, [Symbol.dispose]: close };
}

/** By their names, of which the rest is the attachment's. */
function hostEndsAmong(netlink: Netlink, indexes: Iterable<number>): string[] {
  return [...indexes].flatMap((index) => {
    const name = findLink(netlink, index)?.name ?? '';
    return /^tbo[0-9a-f]{11}$/.test(name) ? [name.slice(HOST_LINK_PREFIX.length)] : [];
  });
}
