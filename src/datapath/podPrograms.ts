import type { IP } from '../address/ip.ts';
import type { PodInterface, PodPrograms } from '../attach/podPrograms.ts';
import { type AttachmentRecord, bootId, type RecordStore } from '../attach/record.ts';
import { readSpec } from '../attach/recordText.ts';
import { FEATURES } from '../ebpf/features.ts';
import { listPins } from '../ebpf/pin.ts';
import { messageOf } from '../errors.ts';
import { hasCode } from '../ffi/systemError.ts';
import { namespaceCookie, namespaceIdentity, sameNamespace, withNamespace } from '../netlink/namespace.ts';
import { type Netlink, openNetlink } from '../netlink/socket.ts';
import { type PinDirectory, pinDirectory } from './directory.ts';
import { attachFilters, detachFilter, programOfFilter } from './filters.ts';
import {
  attachHostEnd,
  checkHostEnd,
  type ForwardingMode,
  forgetHostEnd,
  hostEndOf,
  mendHostEnds,
  prepareHostEnd,
  type ReplaceFailure,
  replaceHostEnds,
} from './hostEnds.ts';
import { isListed, listNamespace, type ServicesMode, unlistNamespace } from './namespaces.ts';
import { type PinnedPrograms, withPrograms } from './pinnedPrograms.ts';
import { type PodHook, podHooks } from './podHooks.ts';
import { attachByLink, detachLinks, pinnedProgramId, programOfLink, replaceByLink } from './podLinks.ts';

export interface PodProgramsOptions {
  readonly bpfDir: string;
  readonly mode: ServicesMode;
  readonly records: RecordStore;
  /** @default fast, and no address is kept */
  readonly forwarding?: ForwardingMode;
}

export interface DatapathPodPrograms extends PodPrograms {
  /**
   * Gives every recorded pod the programs that are pinned now, packet by packet without a gap. Pods that are
   * gone in the meantime are passed over. Not to be called inside a pod's namespace.
   */
  replaceAll(): ReplaceFailure[];
  /** The same for the host ends alone, when what {@link ForwardingMode} says of their pods has changed. */
  refreshHostEnds(): ReplaceFailure[];
  /** Puts programs back at the host ends of these attachments: see {@link mendHostEnds}. */
  mendHostEnds(node: Netlink, ids: readonly string[]): string[];
}

const FAST: ForwardingMode = { way: 'fast', keepsAddress: () => false };

/**
 * The programs of pods, by what the agent has pinned: needs neither libbpf nor an agent.
 *
 * A pod on a veth gets clsact filters, which take a fifth of a millisecond: the host's end of the pair is there
 * to enforce things. A pod with a device of its own gets TCX links, which take up to 16 ms each but cannot be
 * removed from within, or filters where the kernel has no TCX.
 */
export function datapathPodPrograms(options: PodProgramsOptions): DatapathPodPrograms {
  const { bpfDir, mode, records, forwarding = FAST } = options;
  const directory = pinDirectory(bpfDir);

  /** Inside the pod's namespace. */
  function put(pod: Pod, programs: PinnedPrograms): void {
    if (pod.netnsCookie !== undefined) listNamespace(bpfDir, pod.netnsCookie, mode, pod.addresses);
    const hooks = podHooks(pod.index);
    if (mode.packet) attachHooks(directory, pod, hooks, programs);
    else {
      for (const hook of hooks) detachFilter(pod.netlink, hook);
      detachLinks(directory, pod.id, undefined);
    }
  }

  return {
    attach(pod, host) {
      const end = host && hostEndOf(host, forwarding);
      if (end) prepareHostEnd(host.netlink, end);
      withPrograms(directory, (programs) => put(pod, programs));
      if (end) attachHostEnd(bpfDir, host.netlink, end);
    },

    detachHost(end) {
      const { index, addresses } = hostEndOf(end, forwarding);
      forgetHostEnd(bpfDir, index, addresses);
    },

    detach(id) {
      const record = records.read(id);
      const host = record?.attached?.host;
      // An attachment that was not completed has its addresses, and nobody else; a device of the pod's own has no host end.
      const unfinished = record !== undefined && record.attached === undefined;
      if (record && (host || unfinished)) forgetHostEnd(bpfDir, host?.index, addressesOf(record));
      const siblings = record === undefined ? [] : siblingsOf(record, records);
      const heir = siblings.find(({ spec }) => spec.kind.kind !== 'veth');
      detachLinks(directory, id, heir?.spec.id);
      if (record?.netnsCookie !== undefined && siblings.length === 0) {
        unlistNamespace(bpfDir, BigInt(record.netnsCookie));
      }
    },

    check(pod) {
      const linked = listPins(directory.podLinks(pod.id)).length > 0;
      for (const hook of mode.packet ? podHooks(pod.index) : []) {
        const found =
          (linked ? programOfLink(directory, pod.id, hook) : undefined) ?? programOfFilter(pod.netlink, hook);
        checkProgram(hook, found, pinnedProgramId(directory.program(hook.program)), linked);
      }
      const cookie = pod.netnsCookie;
      if (cookie !== undefined && !isListed(bpfDir, cookie)) {
        throw new Error(`Cannot find the pod in tb_netns: it gets no services (value ${cookie})`);
      }
    },

    checkHost(end) {
      checkHostEnd(bpfDir, end.netlink, hostEndOf(end, forwarding));
    },

    mendHostEnds: (node, ids) =>
      mendHostEnds(
        bpfDir,
        node,
        ids.flatMap((id) => records.read(id) ?? []),
        forwarding,
      ),

    refreshHostEnds: () => replaceHostEnds(bpfDir, records.list().records, forwarding),

    replaceAll: () => [
      ...replaceHostEnds(bpfDir, records.list().records, forwarding),
      ...withPrograms(directory, (programs) =>
        records.list().records.flatMap((record): ReplaceFailure[] => {
          try {
            replaceIn(record, directory, (pod) => put(pod, programs), programs);
            return [];
          } catch (error) {
            return [{ id: record.spec.id, reason: messageOf(error) }];
          }
        }),
      ),
    ],
  };
}

type Pod = Pick<PodInterface, 'id' | 'kind' | 'index' | 'netlink' | 'netnsCookie' | 'addresses'>;

function attachHooks(directory: PinDirectory, pod: Pod, hooks: PodHook[], programs: PinnedPrograms): void {
  if (pod.kind === 'veth') {
    attachFilters(pod.netlink, hooks, programs);
    return;
  }
  try {
    for (const hook of hooks) attachByLink(directory, pod.id, hook, programs.get(hook.program));
  } catch (error) {
    if (!hasCode(error, 'EINVAL') || FEATURES.tcx.supported()) throw error;
    attachFilters(pod.netlink, hooks, programs);
  }
}

function replaceIn(
  record: AttachmentRecord,
  directory: PinDirectory,
  put: (pod: Pod) => void,
  programs: PinnedPrograms,
): void {
  const { id, kind, netns } = record.spec;
  if (record.state === 'detaching' || record.attached === undefined) return;
  // Nothing of another boot is left, and a namespace may have got its number by chance.
  if (record.bootId !== bootId()) return;
  const { index } = record.attached.pod;
  if (!isThere(record)) {
    // The path to the namespace is gone; its devices may live on, and with them the links.
    replaceByLink(directory, id, programs);
    return;
  }
  withNamespace(netns, () => {
    const netlink = openNetlink();
    const netnsCookie = namespaceCookie();
    const addresses = addressesOf(record);
    try {
      put({ id, kind: kind.kind, index, netlink, netnsCookie, addresses });
    } finally {
      netlink.close();
    }
  });
}

function addressesOf({ spec }: AttachmentRecord): IP[] {
  return readSpec(spec).addresses.map(({ address }) => address.address);
}

/** Whether the path still leads to the namespace of the attachment. */
function isThere({ spec, namespace }: AttachmentRecord): boolean {
  try {
    return sameNamespace(namespaceIdentity(spec.netns), namespace);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'EINVAL')) return false;
    throw error;
  }
}

/** The other attachments of the same pod. */
function siblingsOf({ spec, namespace }: AttachmentRecord, records: RecordStore): AttachmentRecord[] {
  const { records: all } = records.list();
  return all.filter(
    (other) =>
      other.spec.id !== spec.id && other.state !== 'detaching' && sameNamespace(other.namespace, namespace),
  );
}

/** The loopback device of a pod with several devices carries the program once, under whichever attachment was first. */
function checkProgram(hook: PodHook, found: number | undefined, expected: number, linked: boolean): void {
  if (found === expected || (found === undefined && hook.shared && linked)) return;
  const place = `${hook.direction} of ${hook.shared ? 'lo' : `interface ${hook.index}`}`;
  if (found === undefined) throw new Error(`Cannot find ${hook.program} at ${place}: nothing is attached`);
  throw new Error(`Cannot find ${hook.program} at ${place}: another program is (value ${found})`);
}
