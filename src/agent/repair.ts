import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseIP } from '../address/ip.ts';
import { overlaps, parsePrefix } from '../address/prefix.ts';
import { attachmentId, hostLinkName } from '../attach/attachment.ts';
import { messageOf } from '../errors.ts';
import { check, type Finding } from '../ipam/check.ts';
import { findLink } from '../netlink/link.ts';
import { type BookParts, booksOf } from './ipamBooks.ts';

/** A finding, and what has become of it. */
export interface Repair extends Finding {
  readonly repaired: boolean;
  /** What was done, or what somebody has to do. */
  readonly remedy: string;
}

export interface RepairParts extends BookParts {
  readonly bpfDir: string;
  /** Brings claims and journal together, and the routes of this node's blocks. */
  readonly reconcile: () => Promise<void>;
}

/** Looks through the books and mends what can be mended without a guess; the rest comes with what to do. */
export async function repairBooks(parts: RepairParts): Promise<Repair[]> {
  const findings = check(await booksOf(parts));
  if (findings.length === 0) return [];
  await parts.reconcile();
  const left = new Set(check(await booksOf(parts)).map(keyOf));
  const repairs: Repair[] = [];
  for (const finding of findings) {
    if (!left.has(keyOf(finding))) {
      repairs.push({
        ...finding,
        repaired: true,
        remedy: 'brought together with the claims and segments there are',
      });
      continue;
    }
    try {
      repairs.push({ ...finding, ...(await mend(finding, parts)) });
    } catch (error) {
      repairs.push({ ...finding, repaired: false, remedy: `it cannot be mended: ${messageOf(error)}` });
    }
  }
  return repairs;
}

type Outcome = Pick<Repair, 'repaired' | 'remedy'>;

async function mend(finding: Finding, parts: RepairParts): Promise<Outcome> {
  const { containerID = '', ifName = '', object } = finding;
  switch (finding.kind) {
    case 'allocation without attachment':
      return releaseDead({ containerID, ifName }, parts);
    case 'attachment without allocation':
      return adopt({ containerID, ifName }, object, parts);
    case 'segment held twice':
      return giveUp(object, parts);
    case 'address outside segments':
    case 'reserved address in use':
    case 'address of a claim held without it':
      return left(`delete the pod: the one that comes after it gets an address of its own`);
    case 'segment without pool':
      return left('put the pool back, or leave it: the operator asks for the segment when it is empty');
    case 'segment outside pool':
      return left('give the pool its former cidr, or make a second pool beside it');
    case 'pool on a link':
      return left('move the link to another range, or the pool: packets between the two go astray');
    default:
      return left('the agent has tried, and finds it again: look at its log');
  }
}

/** Only with proof that nobody is there: no record, no host link, no programs on a NIC. */
async function releaseDead(
  owner: { containerID: string; ifName: string },
  parts: RepairParts,
): Promise<Outcome> {
  const { ipam, records, netlink, bpfDir } = parts;
  const id = attachmentId(owner.containerID, owner.ifName);
  const trace =
    (records.read(id) && 'a record of its attachment') ??
    (findLink(netlink, hostLinkName(id)) && `the link ${hostLinkName(id)}`) ??
    (existsSync(join(bpfDir, 'links', id)) ? 'programs on its NIC' : undefined);
  if (trace !== undefined) return left(`there is ${trace}: the container may live`);
  await ipam.release(owner);
  return { repaired: true, remedy: 'released: there is neither record nor link nor program of it' };
}

async function adopt(
  owner: { containerID: string; ifName: string },
  address: string,
  { ipam, records }: RepairParts,
): Promise<Outcome> {
  const record = records.read(attachmentId(owner.containerID, owner.ifName));
  const network = record?.spec.network ?? '';
  if (ipam.heldBy(owner)) return left('its container holds another address: delete the pod');
  try {
    await ipam.adopt({ ...owner, network }, [parseIP(address)]);
    return { repaired: true, remedy: 'written into the journal' };
  } catch (error) {
    return left(`two containers have one address; delete one of the pods: ${messageOf(error)}`);
  }
}

/** A node that uses nothing of a segment can do without it; of two that use it neither may be wrong. */
async function giveUp(segment: string, { ipam, store, node }: RepairParts): Promise<Outcome> {
  const range = parsePrefix(segment);
  const mine = ipam.usage().find(({ segment: { prefix } }) => overlaps(prefix, range));
  const { items } = await store.list('NodeNetwork');
  const others = items.filter(
    ({ metadata, spec }) =>
      metadata.name !== node.name &&
      (spec.segments ?? []).some(({ cidr }) => overlaps(parsePrefix(cidr), range)),
  );
  const names = others.map(({ metadata }) => metadata.name);
  if (mine === undefined) return { repaired: true, remedy: 'this node has it no more' };
  if (mine.used + mine.resting > 0) {
    return left(
      `this node uses ${mine.used} addresses of it: run ipam check --fix on ${names.join(', ')}, or move the pods of one node`,
    );
  }
  const own = items.find(({ metadata }) => metadata.name === node.name);
  // Of two idle nodes one must stay, and both must agree which.
  const idle = others.filter(({ status }) =>
    (status?.segments ?? []).every((one) => !overlaps(parsePrefix(one.cidr), range) || (one.used ?? 0) === 0),
  );
  const first = idle.map(({ metadata }) => metadata.name).sort()[0];
  if (own === undefined || (first !== undefined && idle.length === others.length && node.name < first)) {
    return left(
      `run ipam check --fix on ${names.join(', ')}: of nodes that do not use it the first keeps it`,
    );
  }
  const segments = (own.spec.segments ?? []).filter(({ cidr }) => !overlaps(parsePrefix(cidr), range));
  await store.update({ ...own, spec: { ...own.spec, segments } });
  return {
    repaired: true,
    remedy: `given up: this node uses nothing of it, and ${names.join(', ')} keeps it`,
  };
}

function left(remedy: string): Outcome {
  return { repaired: false, remedy };
}

function keyOf({ kind, object, containerID }: Finding): string {
  return `${kind} ${object} ${containerID}`;
}
