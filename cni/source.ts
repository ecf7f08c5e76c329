import type { AttachmentRecord } from '../src/attach/record.ts';
import type { AddressOwner, AddressSource } from './addresses.ts';
import type { Call } from './answer.ts';
import { delegatedAddresses } from './delegatedAddresses.ts';
import type { Node } from './node.ts';
import { isObject, type JsonObject } from './protocol/members.ts';

/** Where the addresses of the network in a call come from. */
export function sourceOf({ environment, configuration }: Call, node: Node): AddressSource {
  const { ipam, json } = configuration;
  return ipam === undefined ? node.addresses : delegatedAddresses(ipam, json, environment);
}

/**
 * Where the addresses of an attachment came from, which is where they go back to, also when the configuration
 * has changed since.
 */
export function sourceOfRecord(record: AttachmentRecord, call: Call, node: Node): AddressSource {
  const { ipam } = record.spec;
  if (ipam.kind === 'agent') return node.addresses;
  const json = isObject(ipam.config) ? ipam.config : call.configuration.json;
  return delegatedAddresses(ipam.type, json, call.environment);
}

export function ownerOf({ spec }: AttachmentRecord): AddressOwner {
  return { network: spec.network, containerID: spec.containerId, ifName: spec.ifName };
}

/** What a later DEL or GC must tell a delegated plugin: the configuration without what belonged to this call. */
export function lastingPart(json: JsonObject): JsonObject {
  const { prevResult: _, ...lasting } = json;
  return lasting;
}
