import { withDescriptor } from '../ebpf/bpf.ts';
import { raw, u64 } from '../ebpf/codec.ts';
import { BpfMap, mapInfo, openMap, perCpu } from '../ebpf/map.ts';
import { listPins, openPin } from '../ebpf/pin.ts';
import { pinDirectory } from './directory.ts';
import { MAPS } from './layout.ts';
import { REASONS, type Reason } from './reasons.ts';

export interface ReasonCount {
  readonly reason: Reason;
  readonly kind: (typeof REASONS)[number]['kind'];
  readonly sentence: string;
  /** Packets, or calls of a socket, since the map was made. */
  readonly count: bigint;
}

/** What the programs have counted, all CPUs together. */
export function readReasons(bpfDir: string): ReasonCount[] {
  const path = pinDirectory(bpfDir).map('tb_metrics');
  const map = openMap(path, MAPS.tb_metrics.key, perCpu(u64));
  try {
    return REASONS.map(({ name, kind, sentence }, index) => ({
      reason: name,
      kind,
      sentence,
      count: (map.get(index) ?? []).reduce((sum, count) => sum + count, 0n),
    }));
  } finally {
    map.close();
  }
}

export interface MapFill {
  readonly map: string;
  readonly entries: number;
  readonly maxEntries: number;
}

/** Types whose entries are always all there, or belong to something else. */
const WITHOUT_FILL = ['array', 'percpu_array', 'sk_storage', 'ringbuf'];

/**
 * How full the maps are. Each is counted in batches, at about a hundred nanoseconds an entry: meant for every
 * scrape of the metrics, not for every packet. An LRU map that is full is at work, any other is in trouble.
 */
export function readFill(bpfDir: string): MapFill[] {
  const directory = pinDirectory(bpfDir);
  return listPins(directory.maps).flatMap((name) =>
    withDescriptor(openPin(directory.map(name)), (fd) => {
      const info = mapInfo(fd);
      if (WITHOUT_FILL.includes(info.type)) return [];
      const map = new BpfMap(fd, raw(info.keySize), raw(info.valueSize));
      return [{ map: name, entries: map.count(), maxEntries: info.maxEntries }];
    }),
  );
}
