import { formatIP, type IP } from '../address/ip.ts';
import { type Mac, macBytes } from '../address/mac.ts';
import { hostLinkName } from '../attach/attachment.ts';
import type { HostInterface } from '../attach/podPrograms.ts';
import { type AttachmentRecord, bootId } from '../attach/record.ts';
import { readSpec } from '../attach/recordText.ts';
import { type BpfMap, openMap } from '../ebpf/map.ts';
import { messageOf } from '../errors.ts';
import { hasCode } from '../ffi/systemError.ts';
import { findLink } from '../netlink/link.ts';
import { type Netlink, openNetlink } from '../netlink/socket.ts';
import { type PinDirectory, pinDirectory } from './directory.ts';
import { attachFilters, detachFilter, type FilterHook, prepareFilters, programOfFilter } from './filters.ts';
import { MAPS } from './layout.ts';
import { POD_FLAGS, type Pod } from './maps/pods.ts';
import { withPrograms } from './pinnedPrograms.ts';
import { pinnedProgramId } from './podLinks.ts';

/** The node's end of a pod's veth pair, where its packets come in. */
export interface HostEndOfPod {
  readonly index: number;
  readonly mac: Mac;
  readonly podMac: Mac;
  readonly addresses: readonly IP[];
  /** Why all of its packets take the node's stack; `undefined`: they need not. */
  readonly byStack: StackReason | undefined;
  /** Whether the node never puts its own address in place of the pod's; undefined: as it has been. */
  readonly keepsAddress: boolean | undefined;
}

/**
 * What the fast way would pass by. What netfilter translates on its way to a pod (`portmap`) is no reason: its answers take
 * the stack by themselves, see bpf/stack_flows.h.
 */
export type StackReason =
  | { readonly kind: 'configured' }
  /** A plugin of the chain keeps a queue on the host end, where clsact would be: no program fits beside it. */
  | { readonly kind: 'queue'; readonly plugin: string };

const PLUGINS_WITH_QUEUES: readonly string[] = ['bandwidth'];

/** What the datapath is to do for pods on veths. */
export interface ForwardingMode {
  /** `stack`: for debugging, and for nodes whose packets somebody else has to see. */
  readonly way: 'fast' | 'stack';
  /** Whether a pod with this address keeps it towards the outside; undefined: not known yet. */
  readonly keepsAddress: (address: IP) => boolean | undefined;
}

/** Why a pod's packets take the stack, if they do. */
export function stackReasonOf(
  { way }: Pick<ForwardingMode, 'way'>,
  followers: readonly { readonly type: string }[] = [],
): StackReason | undefined {
  const shaper = followers.find(({ type }) => PLUGINS_WITH_QUEUES.includes(type));
  if (shaper !== undefined) return { kind: 'queue', plugin: shaper.type };
  return way === 'stack' ? { kind: 'configured' } : undefined;
}

export function hostEndOf(
  { spec, host, pod }: Omit<HostInterface, 'netlink'>,
  mode: ForwardingMode,
): HostEndOfPod {
  const addresses = addressesOf(spec);
  return {
    index: host.index,
    mac: host.mac,
    podMac: pod.mac,
    addresses,
    byStack: stackReasonOf(mode, spec.followers),
    keepsAddress: anyOf(addresses.map((address) => mode.keepsAddress(address))),
  };
}

/** How the pod's packets are forwarded, as people see it. */
export function describeForwarding(reason: StackReason | undefined): string {
  if (reason === undefined) return 'fast';
  return reason.kind === 'configured' ? 'stack (configured)' : `stack (${reason.plugin})`;
}

/** Makes room for the programs of a host end before its pod has any: see {@link prepareFilters}. */
export function prepareHostEnd(node: Netlink, { index, byStack }: HostEndOfPod): void {
  if (byStack?.kind !== 'queue') prepareFilters(node, hooksOf(index));
}

/** @param node A socket in the node's namespace. Over what is there already: in its place. */
export function attachHostEnd(bpfDir: string, node: Netlink, end: HostEndOfPod): void {
  const directory = pinDirectory(bpfDir);
  // First who it is: without that the program takes all it sends for forged.
  withPods(directory, (map) => {
    for (const address of end.addresses) map.set(address, entryOf(end, map.get(address)));
  });
  const hooks = hooksOf(end.index);
  if (end.byStack?.kind === 'queue') for (const hook of hooks) detachFilter(node, hook);
  else withPrograms(directory, (programs) => attachFilters(node, hooks, programs));
}

/**
 * Forgets the addresses of a host end that is gone, or about to be; not those that another pod has by now.
 *
 * @param index Unknown where the attachment was not completed.
 */
export function forgetHostEnd(bpfDir: string, index: number | undefined, addresses: readonly IP[]): void {
  withPods(pinDirectory(bpfDir), (map) => {
    for (const address of addresses) {
      if (index === undefined || map.get(address)?.ifindex === index) map.delete(address);
    }
  });
}

/** An attachment whose programs could not be replaced; it keeps those it has. */
export interface ReplaceFailure {
  readonly id: string;
  readonly reason: string;
}

/**
 * Gives the host ends of all these attachments what is pinned now, and forgets every other. Those whose device is gone are
 * passed over. The thread stands in the node's namespace.
 */
export function replaceHostEnds(
  bpfDir: string,
  records: readonly AttachmentRecord[],
  mode: ForwardingMode,
): ReplaceFailure[] {
  const node = openNetlink();
  try {
    const ends = records.filter(isStanding).map(({ spec, attached }) => ({
      id: spec.id,
      end: hostEndOf({ spec: readSpec(spec), ...attached }, mode),
    }));
    // Also of those that are being attached at this moment.
    const kept = new Set(records.flatMap(({ spec }) => addressesOf(readSpec(spec))));
    withPods(pinDirectory(bpfDir), (map) =>
      map.deleteAll([...map.keys()].filter((address) => !kept.has(address))),
    );
    return ends.flatMap(({ id, end }) => {
      if (!isThere(node, id, end)) return [];
      try {
        attachHostEnd(bpfDir, node, end);
        return [];
      } catch (error) {
        return hasCode(error, 'ENODEV') ? [] : [{ id, reason: messageOf(error) }];
      }
    });
  } finally {
    node.close();
  }
}

type Standing = AttachmentRecord & {
  readonly attached: { readonly host: HostInterface['host']; readonly pod: HostInterface['pod'] };
};

/** Of another boot nothing is left, and the number of a device may have become another's. */
function isStanding(record: AttachmentRecord): record is Standing {
  return record.state === 'attached' && record.attached?.host !== undefined && record.bootId === bootId();
}

/**
 * Puts the programs back where somebody has taken them off, at the host ends of these attachments.
 *
 * @param node A socket in the node's namespace.
 * @returns Which lacked any. @throws {SystemError} If the kernel refuses one; the others have theirs.
 */
export function mendHostEnds(
  bpfDir: string,
  node: Netlink,
  records: readonly AttachmentRecord[],
  mode: ForwardingMode,
): string[] {
  const directory = pinDirectory(bpfDir);
  const bare = records
    .filter(isStanding)
    .map(({ spec, attached }) => ({
      id: spec.id,
      end: hostEndOf({ spec: readSpec(spec), ...attached }, mode),
    }))
    .filter(({ id, end }) => misplaced(directory, node, end).length > 0 && isThere(node, id, end));
  const hooks = bare.flatMap(({ end }) => hooksOf(end.index));
  prepareFilters(node, hooks);
  withPrograms(directory, (programs) => attachFilters(node, hooks, programs));
  return bare.map(({ id }) => id);
}

/** Another device may have its number: one that was made since, or in a namespace that is not the node's. */
function isThere(node: Netlink, id: string, { index }: HostEndOfPod): boolean {
  return findLink(node, index)?.name === hostLinkName(id);
}

/** The places of a host end where its program is not, with what is there. */
function misplaced(
  directory: PinDirectory,
  node: Netlink,
  { index, byStack }: HostEndOfPod,
): { readonly program: string; readonly found: number | undefined }[] {
  if (byStack?.kind === 'queue') return [];
  return hooksOf(index).flatMap((hook) => {
    const found = programOfFilter(node, hook);
    return found === pinnedProgramId(directory.program(hook.program))
      ? []
      : [{ program: hook.program, found }];
  });
}

/** @throws {Error} Naming what is missing. */
export function checkHostEnd(bpfDir: string, node: Netlink, end: HostEndOfPod): void {
  const directory = pinDirectory(bpfDir);
  for (const { program, found } of misplaced(directory, node, end)) {
    throw new Error(`Cannot find ${program} at the host end: ${found ?? 'nothing'} is attached`);
  }
  withPods(directory, (map) => {
    for (const address of end.addresses) {
      if (map.get(address)?.ifindex === end.index) continue;
      throw new Error(
        `Cannot find the pod in tb_pods: what it sends is dropped (value ${formatIP(address)})`,
      );
    }
  });
}

function addressesOf({ addresses }: HostInterface['spec']): IP[] {
  return addresses.map(({ address }) => address.address);
}

/** Undefined if nothing is known of any. */
function anyOf(answers: readonly (boolean | undefined)[]): boolean | undefined {
  if (answers.includes(true)) return true;
  return answers.includes(undefined) ? undefined : false;
}

function hooksOf(index: number): FilterHook[] {
  return [
    { program: 'tb_host_ingress', index, direction: 'ingress' },
    { program: 'tb_host_egress', index, direction: 'egress' },
  ];
}

/** What the programs have noted in the former entry of the same host end, stays. */
function entryOf({ index, mac, podMac, byStack, keepsAddress }: HostEndOfPod, former: Pod | undefined): Pod {
  const noted = former?.ifindex === index ? former.flags : 0;
  const kept = keepsAddress ? POD_FLAGS.keepsAddress : 0;
  return {
    ifindex: index,
    flags:
      (noted & POD_FLAGS.answersStack) |
      (byStack === undefined ? 0 : POD_FLAGS.stack) |
      (keepsAddress === undefined ? noted & POD_FLAGS.keepsAddress : kept),
    mac: macBytes(podMac),
    gateway: macBytes(mac),
  };
}

function withPods<T>(directory: PinDirectory, body: (map: BpfMap<IP, Pod>) => T): T {
  const map = openMap(directory.map('tb_pods'), MAPS.tb_pods.key, MAPS.tb_pods.value);
  try {
    return body(map);
  } finally {
    map.close();
  }
}
