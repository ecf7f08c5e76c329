import { formatIP } from '../../src/address/ip.ts';
import { parseInterfaceAddress } from '../../src/address/prefix.ts';
import { attachmentId } from '../../src/attach/attachment.ts';
import type { AttachmentRecord } from '../../src/attach/record.ts';
import type { CallOf } from '../answer.ts';
import { checkFollowers } from '../followers.ts';
import type { Node } from '../node.ts';
import { CniError, CODE } from '../protocol/error.ts';
import { formatResult, type Result } from '../protocol/result.ts';
import { ownerOf, sourceOfRecord } from '../source.ts';
import { confirmNamespace } from './namespace.ts';

/** CHECK: the runtime's memory (`prevResult`), the record, the kernel and the IPAM must all say the same. */
export async function check(call: CallOf<'CHECK'>, node: Node): Promise<undefined> {
  const { environment, configuration } = call;
  const { containerID, ifName } = environment;
  if (configuration.prevResult === undefined) {
    throw new CniError(CODE.invalidConfiguration, 'Cannot check: "prevResult" is missing, the result of ADD');
  }
  confirmNamespace(environment);
  const record = node.records.read(attachmentId(containerID, ifName));
  if (record === undefined) {
    throw new CniError(
      CODE.unknownContainer,
      `Cannot check ${ifName} of container ${containerID}: never attached`,
    );
  }
  if (record.state !== 'attached') {
    throw new Error(`Cannot check ${ifName} of container ${containerID}: its record says ${record.state}`);
  }
  confirmResult(configuration.prevResult, record, call);
  await node.check(record);
  await checkFollowers(record, formatResult(configuration.prevResult, call.version), environment);
  const ips = record.spec.addresses.map(({ address }) => parseInterfaceAddress(address).address);
  await sourceOfRecord(record, call, node).check(ownerOf(record), ips);
}

/** What later plugins of the chain have added is theirs; only our own part of the result must be there. */
function confirmResult(result: Result, { spec, hostLink }: AttachmentRecord, call: CallOf<'CHECK'>): void {
  const { ifName, netns } = call.environment;
  const wrong = (reason: string) =>
    new CniError(CODE.invalidConfiguration, `Cannot check ${ifName}: "prevResult" ${reason}`);

  const pod = result.interfaces.findIndex(({ name, sandbox }) => name === ifName && sandbox !== undefined);
  if (pod < 0) throw wrong(`has no interface ${ifName} in a sandbox`);
  if (result.interfaces[pod]?.sandbox !== netns) {
    throw wrong(`has ${ifName} in ${result.interfaces[pod]?.sandbox}, CNI_NETNS is ${netns}`);
  }
  if (hostLink !== undefined && !result.interfaces.some(({ name }) => name === hostLink)) {
    throw wrong(`does not have ${hostLink}, its end on the node`);
  }
  const theirs = result.ips.filter((ip) => ip.interface === pod).map((ip) => formatIP(ip.address.address));
  const ours = spec.addresses.map(({ address }) => formatIP(parseInterfaceAddress(address).address));
  for (const ip of ours) if (!theirs.includes(ip)) throw wrong(`does not have ${ip}, which was given out`);
  for (const ip of theirs) if (!ours.includes(ip)) throw wrong(`has ${ip}, which was not given out`);
}
