import { messageOf } from '../errors.ts';
import { type Link, listLinks } from '../netlink/link.ts';
import { type Netlink, openNetlink } from '../netlink/socket.ts';
import type { Attached, AttachmentSpec, HostEnd, PodEnd } from './attachment.ts';
import { attachChild } from './child.ts';
import { confirmFree, findDevice } from './device.ts';
import { attachNic } from './nic.ts';
import { describeDevice } from './originalDevice.ts';
import { openPod, type Pod } from './pod.ts';
import type { HostInterface, PodPrograms } from './podPrograms.ts';
import { newRecord, type RecordStore } from './record.ts';
import { type StepObserver, Steps } from './steps.ts';
import { attachVeth } from './veth.ts';

export interface AttachHooks {
  readonly programs: PodPrograms;
  readonly records: RecordStore;
  /** Sees every step before it is taken; throwing fails it. */
  readonly onStep?: StepObserver;
}

/** What the kinds of attachments work with. */
export interface Workplace {
  readonly spec: AttachmentSpec;
  /** A socket in the node's namespace, the one this thread is in. */
  readonly node: Netlink;
  readonly pod: Pod;
  /** The pod's links before there was this one. */
  readonly others: readonly Link[];
  readonly steps: Steps;
  /** Puts the programs on an interface, which must not be up yet: no packet is to pass without them. */
  equip(ends: Ends): void;
}

/** An interface in the pod, by its index, and its other end on the node, if it has one. */
export interface Ends {
  readonly index: number;
  readonly host?: HostInterface;
}

/** What they make. */
export interface Made {
  readonly host?: HostEnd;
  readonly pod: PodEnd;
}

/**
 * Makes a pod's interface and its record. Synchronous and serial; other processes may do the same meanwhile.
 *
 * @throws {Error} Naming the step that failed; everything before it is undone then, the record included.
 */
export function attach(spec: AttachmentSpec, hooks: AttachHooks): Attached {
  const steps = new Steps(hooks.onStep);
  const node = openNetlink();
  let pod: Pod | undefined;
  try {
    pod = openPod(spec.netns);
    const others = listLinks(pod.netlink);
    return takeSteps({ spec, node, pod, others, steps, equip: equipment(spec, pod, steps, hooks) }, hooks);
  } catch (error) {
    const stuck = steps.unwind();
    const reasons = [messageOf(error), ...stuck].join('; ');
    throw new Error(`Cannot attach ${spec.ifName} to container ${spec.containerId}: ${reasons}`, {
      cause: error,
    });
  } finally {
    pod?.close();
    node.close();
  }
}

function takeSteps(place: Workplace, { records }: AttachHooks): Attached {
  const { spec, node, pod, steps } = place;
  confirmVacant(place, records);
  const device = spec.kind.kind === 'nic' ? findDevice(node, spec.kind.device) : undefined;
  if (device) confirmFree(node, device);
  const original = device && describeDevice(node, device);

  const netnsCookie = pod.cookie?.toString();
  const record = newRecord(spec, { namespace: pod.identity, netnsCookie, original });
  steps.take(
    'write the record',
    () => records.write(record),
    () => records.remove(spec.id),
  );
  const made = device && original ? attachNic(place, device, original) : attachVirtual(place);
  steps.take('complete the record', () => records.write({ ...record, state: 'attached', attached: made }));
  return { ...made, netnsCookie: pod.cookie };
}

function attachVirtual(place: Workplace): Made {
  const { kind } = place.spec;
  return kind.kind === 'child' ? attachChild(place, kind) : attachVeth(place);
}

function equipment(spec: AttachmentSpec, pod: Pod, steps: Steps, { programs }: AttachHooks) {
  return ({ index, host }: Ends) => {
    const { id, ifName, netns } = spec;
    const addresses = spec.addresses.map(({ address }) => address.address);
    const { netlink, cookie: netnsCookie } = pod;
    const kind = spec.kind.kind;
    const hostIndex = host?.host.index;
    const end = { id, kind, ifName, index, netns, netlink, netnsCookie, addresses, hostIndex };
    steps.onFailure('remove the programs', () => programs.detach(id));
    if (host) steps.onFailure('remove the programs of the host end', () => programs.detachHost(host));
    steps.take('attach the programs', () => pod.inside(() => programs.attach(end, host)));
  };
}

/** What is there already belongs to somebody, and stays. */
function confirmVacant({ spec, others }: Workplace, records: RecordStore): void {
  const { id, ifName } = spec;
  if (spec.addresses.length === 0) throw new Error('it is given no address');
  if (records.read(id) !== undefined) {
    throw new Error(`attachment ${id} has a record already; DEL comes before another ADD`);
  }
  if (others.some(({ name }) => name === ifName)) throw new Error(`the pod has a link ${ifName} already`);
}
