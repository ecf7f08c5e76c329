import { type Mac, parseMac } from '../../src/address/mac.ts';
import {
  type AttachmentKind,
  type AttachmentSpec,
  attachmentId,
  type DeviceSelector,
} from '../../src/attach/attachment.ts';
import { messageOf } from '../../src/errors.ts';
import type { Allocation, Pod } from '../addresses.ts';
import type { CallOf } from '../answer.ts';
import { addFollowers, deleteFollowers, followersOf } from '../followers.ts';
import type { Node } from '../node.ts';
import { type Capabilities, withArgs } from '../protocol/capabilities.ts';
import type { AttachmentConfiguration } from '../protocol/configuration.ts';
import type { Args } from '../protocol/environment.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { JsonObject } from '../protocol/members.ts';
import { chainResults, EMPTY_RESULT, formatResult, saysSomething } from '../protocol/result.ts';
import { lastingPart, sourceOf } from '../source.ts';
import { Undo } from '../undo.ts';
import { resultOf } from './attachmentResult.ts';
import { confirmNamespace } from './namespace.ts';

/** ADD: addresses, then the interface, then what others do on it; whatever fails, the node is left as it was. */
export async function add(call: CallOf<'ADD'>, node: Node): Promise<JsonObject> {
  const { environment, configuration, version } = call;
  const { containerID, ifName } = environment;
  const capabilities = requested(call);
  const kind = attachmentKind(configuration.attachment);
  confirmNamespace(environment);
  confirmUnattached(call, node);
  const followers = await followersOf(configuration, version, environment);

  const owner = { network: configuration.network, containerID, ifName };
  const source = sourceOf(call, node);
  const undo = new Undo(node.log);
  try {
    const onLink = kind.kind !== 'veth';
    const request = { owner, pod: podOf(environment.args), ips: capabilities.ips, onLink };
    const allocation = await source.allocate(request);
    undo.push('release its addresses', () => source.release(owner));
    const spec = { ...specOf(call, kind, capabilities.mac, allocation), followers };
    const attached = await node.attach(spec);
    undo.push('detach it', () => detachAgain(spec.id, node));
    const dns = saysSomething(allocation.dns) ? allocation.dns : configuration.dns;
    const result = chainResults(configuration.prevResult ?? EMPTY_RESULT, resultOf(spec, attached, dns));
    undo.push('undo its followers', () => deleteFollowers(followers, owner, environment));
    const final = await addFollowers(followers, result, version, environment);
    // The disk was at work while the interface was made.
    await allocation.durable;
    return formatResult(final, version);
  } catch (error) {
    await undo.all();
    throw error;
  }
}

async function detachAgain(id: string, node: Node): Promise<void> {
  const record = node.records.read(id);
  if (record !== undefined) await node.detach(record);
  node.records.remove(id);
}

function specOf(
  { environment, configuration, version }: CallOf<'ADD'>,
  kind: AttachmentKind,
  mac: Mac | undefined,
  { ips, routes }: Allocation,
): AttachmentSpec {
  const { containerID, ifName, netns } = environment;
  const { network, mtu, ipam, json } = configuration;
  return {
    id: attachmentId(containerID, ifName),
    containerId: containerID,
    ifName,
    network,
    netns,
    kind,
    mtu,
    mac,
    addresses: ips,
    // A default route there is anyway, and the gateways of an IPAM plugin mean nothing on a pair of one's own.
    routes: routes
      .filter(({ dst }) => dst.length > 0)
      .map(({ dst, gw }) => ({ prefix: dst, via: kind.kind === 'veth' ? undefined : gw })),
    ipam:
      ipam === undefined ? { kind: 'agent' } : { kind: 'delegated', type: ipam, config: lastingPart(json) },
    cniVersion: version,
  };
}

/** @throws {CniError} Code 4, if `CNI_ARGS` ask for something that cannot be read. */
function requested({ environment, configuration }: CallOf<'ADD'>): Capabilities {
  try {
    return withArgs(configuration.capabilities, environment.args);
  } catch (error) {
    throw new CniError(CODE.invalidEnvironment, `Cannot read CNI_ARGS: ${messageOf(error)}`);
  }
}

function attachmentKind(configuration: AttachmentConfiguration): AttachmentKind {
  if (configuration.attachment === 'veth') return { kind: 'veth' };
  if ('master' in configuration)
    return { kind: 'child', master: configuration.master, type: configuration.kind };
  if (configuration.device !== undefined) return { kind: 'nic', device: selectorOf(configuration.device) };
  throw new CniError(
    CODE.invalidConfiguration,
    'Cannot choose a device: "attachment" is "nic", and there is neither "device" nor "master" nor "runtimeConfig.deviceID"',
  );
}

function selectorOf(device: string): DeviceSelector {
  if (/^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(device)) return { by: 'pci', address: device };
  if (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(device)) return { by: 'mac', mac: parseMac(device) };
  return { by: 'name', name: device };
}

/** @throws {CniError} If this attachment exists, or an earlier plugin of the chain has made such an interface. */
function confirmUnattached({ environment, configuration }: CallOf<'ADD'>, node: Node): void {
  const { containerID, ifName, netns } = environment;
  if (node.records.read(attachmentId(containerID, ifName)) !== undefined) {
    throw new Error(
      `Cannot attach ${ifName}: container ${containerID} has it already; DEL comes before another ADD`,
    );
  }
  const earlier = configuration.prevResult?.interfaces ?? [];
  if (earlier.some(({ name, sandbox }) => name === ifName && sandbox === netns)) {
    throw new CniError(
      CODE.invalidConfiguration,
      `Cannot attach ${ifName}: an earlier plugin in the list has made it, and tombolo makes its own`,
    );
  }
}

/** By the names the kubelet's runtimes have agreed on. */
function podOf(args: Args): Pod | undefined {
  const namespace = args.get('K8S_POD_NAMESPACE');
  const name = args.get('K8S_POD_NAME');
  return namespace && name ? { namespace, name, uid: args.get('K8S_POD_UID') } : undefined;
}
