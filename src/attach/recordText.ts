import { formatIP, parseIP } from '../address/ip.ts';
import { parseMac } from '../address/mac.ts';
import { formatPrefix, parseInterfaceAddress, parsePrefix } from '../address/prefix.ts';
import type { AttachmentSpec } from './attachment.ts';
import type { AttachmentRecord } from './record.ts';

/** An {@link AttachmentSpec} whose addresses are text. */
export interface SpecText extends Omit<AttachmentSpec, 'mac' | 'addresses' | 'routes'> {
  readonly mac?: string | undefined;
  readonly addresses: readonly { readonly address: string; readonly gateway?: string | undefined }[];
  readonly routes: readonly { readonly prefix: string; readonly via?: string | undefined }[];
}

export function writeSpec(spec: AttachmentSpec): SpecText {
  return {
    ...spec,
    addresses: spec.addresses.map(({ address, gateway }) => ({
      address: formatPrefix(address),
      gateway: gateway === undefined ? undefined : formatIP(gateway),
    })),
    routes: spec.routes.map(({ prefix, via }) => ({
      prefix: formatPrefix(prefix),
      via: via === undefined ? undefined : formatIP(via),
    })),
  };
}

/** @throws {SyntaxError} If an address does not parse. */
export function readSpec(text: SpecText): AttachmentSpec {
  return {
    ...text,
    mac: text.mac === undefined ? undefined : parseMac(text.mac),
    addresses: text.addresses.map(({ address, gateway }) => ({
      address: parseInterfaceAddress(address),
      gateway: gateway === undefined ? undefined : parseIP(gateway),
    })),
    routes: text.routes.map(({ prefix, via }) => ({
      prefix: parsePrefix(prefix),
      via: via === undefined ? undefined : parseIP(via),
    })),
  };
}

const STATES = ['attaching', 'attached', 'detaching'];
const KINDS = ['veth', 'nic', 'child'];

/**
 * Parses a record, far enough that DEL can rely on it.
 *
 * @throws {SyntaxError} If it is no JSON, of another version, cut short, or of another attachment than `id`.
 */
export function readRecord(text: string, id: string): AttachmentRecord {
  const record = JSON.parse(text);
  const refuse = (what: string, value: unknown) => {
    throw new SyntaxError(`Cannot read attachment record ${id}: ${what} (value ${JSON.stringify(value)})`);
  };
  if (record?.version !== 1) refuse('this version is not known', record?.version);
  if (!STATES.includes(record.state)) refuse('no such state', record.state);
  const spec = record.spec;
  if (spec?.id !== id) refuse('it belongs to another attachment', spec?.id);
  for (const key of ['containerId', 'ifName', 'netns', 'network']) {
    if (typeof spec[key] !== 'string') refuse(`${key} must be text`, spec[key]);
  }
  if (!KINDS.includes(spec.kind?.kind)) refuse('no such kind', spec.kind);
  if (!Array.isArray(spec.addresses) || !Array.isArray(spec.routes)) refuse('addresses or routes', spec);
  if (spec.kind.kind === 'nic' && typeof record.original?.name !== 'string') {
    refuse('the original device is missing', record.original);
  }
  if (typeof record.namespace?.inode !== 'number') refuse('no namespace', record.namespace);
  readSpec(spec);
  return record;
}
