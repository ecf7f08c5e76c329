import { attributeName, attributeRow } from './attributeCodec.ts';
import {
  type AttributeRow,
  FLAG_EXTENDED,
  FLAG_OPTIONAL,
  FLAG_PARTIAL,
  FLAG_TRANSITIVE,
} from './attributeRow.ts';
import { malformedAction } from './attributeTable.ts';
import { familyRow } from './families.ts';
import { type AfiSafi, afiSafiOf, familyName, IPV4_UNICAST, IPV6_UNICAST } from './family.ts';
import { HEADER_LENGTH } from './frame.ts';
import { type Action, strongest, UPDATE_SUBCODE } from './reason.ts';
import type { UpdateContext } from './update.ts';
import { type AttributeSpan, type RouteField, UpdateScan } from './updateScan.ts';

const ORIGIN = 1;
const AS_PATH = 2;
const NEXT_HOP = 3;
const LOCAL_PREF = 5;
const MP_REACH_NLRI = 14;
const MP_UNREACH_NLRI = 15;
const AS4_PATH = 17;
const AS4_AGGREGATOR = 18;

/**
 * Reads an UPDATE as far as its routes can be told apart, checks every attribute and every route by RFC 7606,
 * and makes no object per route. Never throws; a message beyond use says `session-reset`.
 *
 * @param bytes Has a whole message, whose header has been checked, from `start` to `end`.
 * @param scan The object to fill.
 */
export function scanUpdate(
  bytes: Buffer,
  context: UpdateContext,
  scan = new UpdateScan(),
  start = 0,
  end = bytes.length,
): UpdateScan {
  scan.begin(bytes, start);
  const { withdrawnField, nlriField, mpReach, mpUnreach } = scan;
  if (locateFields(scan, bytes, start + HEADER_LENGTH, end)) {
    scanAttributes(scan, bytes, context);
    checkField(scan, withdrawnField, context, true);
    checkField(scan, nlriField, context, false);
    if (!nlriField.empty || !mpReach.empty) checkMandatory(scan, context);
  }
  const withdraw = scan.reasons.length > 0 && judge(scan);
  if (scan.action === 'session-reset') return scan;
  if (!withdrawnField.empty) scan.withdrawn.push(withdrawnField);
  if (!mpUnreach.empty) scan.withdrawn.push(mpUnreach);
  if (!nlriField.empty) (withdraw ? scan.withdrawn : scan.announced).push(nlriField);
  if (!mpReach.empty) (withdraw ? scan.withdrawn : scan.announced).push(mpReach);
  if (scan.withdrawn.length === 0 && scan.announced.length === 0) detectEndOfRib(scan);
  return scan;
}

function locateFields(scan: UpdateScan, bytes: Buffer, start: number, end: number): boolean {
  const withdrawn = start + 2;
  const withdrawnEnd = withdrawn + (withdrawn > end ? 0 : bytes.readUInt16BE(start));
  const attributes = withdrawnEnd + 2;
  const attributesEnd = attributes + (attributes > end ? 0 : bytes.readUInt16BE(withdrawnEnd));
  if (attributesEnd > end) {
    const message = 'the lengths of withdrawn routes and attributes exceed the message';
    const offset = attributes > end ? start : withdrawnEnd;
    scan.blame('session-reset', { subcode: UPDATE_SUBCODE.malformedAttributeList, message }, offset);
    return false;
  }
  scan.withdrawnField.locate(IPV4_UNICAST, withdrawn, withdrawnEnd);
  scan.attributes.start = attributes;
  scan.attributes.end = attributesEnd;
  scan.nlriField.locate(IPV4_UNICAST, attributesEnd, end);
  return true;
}

/** Where the framing breaks, what was read so far is trusted, and so is the total length (RFC 7606 §4). */
function scanAttributes(scan: UpdateScan, bytes: Buffer, context: UpdateContext): void {
  const { start, end } = scan.attributes;
  for (let at = start; at < end; ) {
    const flags = bytes[at] as number;
    const wide = (flags & FLAG_EXTENDED) !== 0;
    const value = at + (wide ? 4 : 3);
    if (value > end) {
      scan.loseFraming('an attribute is cut off in its header', at);
      return;
    }
    const code = bytes[at + 1] as number;
    const length = wide ? bytes.readUInt16BE(at + 2) : (bytes[at + 2] as number);
    const next = value + length;
    if (next > end) {
      scan.loseFraming(`${attributeName(code)} of ${length} bytes does not fit`, at);
      return;
    }
    const span = scan.span(code, flags, at, value, next);
    if (!scan.see(code)) blameRepeated(scan, span);
    else if (code === MP_REACH_NLRI || code === MP_UNREACH_NLRI) scanMultiprotocol(scan, span, context);
    else scanAttribute(scan, span, context);
    at = next;
  }
}

/** RFC 7606 §3(g). */
function blameRepeated(scan: UpdateScan, span: AttributeSpan): void {
  const reset = span.code === MP_REACH_NLRI || span.code === MP_UNREACH_NLRI;
  const message = `${attributeName(span.code)} repeats`;
  const flaw = { subcode: UPDATE_SUBCODE.malformedAttributeList, message };
  if (reset) scan.blame('session-reset', flaw, span.at);
  else scan.blameAttribute('attribute-discard', flaw, span);
}

function scanAttribute(scan: UpdateScan, span: AttributeSpan, context: UpdateContext): void {
  const { code } = span;
  const row = attributeRow(code);
  if (row === undefined) {
    scanUnknown(scan, span, context);
  } else if (!flagsFit(row, span.flags)) {
    blameFlags(scan, span, row);
  } else if (row.internalOnly && context.session === 'ebgp') {
    refuse(scan, span, 'attribute-discard', UPDATE_SUBCODE.attributeFlags, 'it came from an external peer');
  } else {
    const flaw = row.check(scan.message, span.start, span.end, context);
    if (flaw !== undefined) {
      refuse(scan, span, malformedAction(row, context), flaw.subcode, flaw.message);
    } else if (context.asn4 && (code === AS4_PATH || code === AS4_AGGREGATOR)) {
      const reason = 'it came from a four-octet speaker (RFC 6793)';
      refuse(scan, span, 'attribute-discard', UPDATE_SUBCODE.optionalAttribute, reason);
    } else {
      if (code === NEXT_HOP) {
        scan.nlriField.nextHop.start = span.start;
        scan.nlriField.nextHop.end = span.end;
      }
      scan.keep();
    }
  }
}

function flagsFit(row: AttributeRow, flags: number): boolean {
  const transitive = FLAG_OPTIONAL | FLAG_TRANSITIVE;
  const mask = row.flags === transitive ? transitive : transitive | FLAG_PARTIAL;
  return (flags & mask) === row.flags;
}

function blameFlags(scan: UpdateScan, span: AttributeSpan, row: AttributeRow): void {
  const reason = `its flags are wrong (value 0x${span.flags.toString(16).padStart(2, '0')})`;
  refuse(scan, span, row.wrongFlags ?? row.malformed, UPDATE_SUBCODE.attributeFlags, reason);
}

/** Kept as bytes where it is optional; a well-known one cannot be ignored (RFC 4271 §6.3). */
function scanUnknown(scan: UpdateScan, span: AttributeSpan, context: UpdateContext): void {
  if ((span.flags & FLAG_OPTIONAL) !== 0 || context.session === 'unknown') scan.keep();
  else refuse(scan, span, 'session-reset', UPDATE_SUBCODE.unrecognizedWellKnown, 'it is not optional');
}

function refuse(
  scan: UpdateScan,
  span: AttributeSpan,
  action: Action,
  subcode: number,
  reason: string,
): void {
  scan.discard.push(span.code);
  scan.blameAttribute(action, { subcode, message: `${attributeName(span.code)}: ${reason}` }, span);
}

/** With wrong flags its routes still count, as routes to withdraw. */
function scanMultiprotocol(scan: UpdateScan, span: AttributeSpan, context: UpdateContext): void {
  const row = attributeRow(span.code);
  if (row !== undefined && !flagsFit(row, span.flags)) blameFlags(scan, span, row);
  const family = familyOf(scan.message, span);
  const fault =
    span.code === MP_REACH_NLRI
      ? scanMpReach(scan, span, family, context)
      : scanMpUnreach(scan, span, family, context);
  if (fault === undefined) {
    scan.keep();
    return;
  }
  const action = family === undefined ? 'session-reset' : (familyRow(family)?.onError ?? 'afi-safi-disable');
  if (action === 'afi-safi-disable' && family !== undefined) scan.disabled.push(family);
  refuse(scan, span, action, UPDATE_SUBCODE.optionalAttribute, fault);
}

function familyOf(bytes: Buffer, { start, end }: AttributeSpan): AfiSafi | undefined {
  return end - start < 3 ? undefined : afiSafiOf(bytes.readUInt16BE(start), bytes.readUInt8(start + 2));
}

/** RFC 4760 §3; where the next hop does not fit, the routes cannot be found (RFC 7606 §7.11). */
function scanMpReach(
  scan: UpdateScan,
  { start, end }: AttributeSpan,
  family: AfiSafi | undefined,
  context: UpdateContext,
): string | undefined {
  if (family === undefined || end - start < 5) return `at least 5 bytes are wanted (value ${end - start})`;
  const length = scan.message.readUInt8(start + 3);
  const nextHop = start + 4;
  const routes = nextHop + length + 1;
  if (routes > end) return `the next hop of ${length} bytes does not fit`;
  if (!nextHopFits(family, length, context)) {
    return `a next hop of ${length} bytes does not suit ${familyName(family)}`;
  }
  const fault = brokenRoute(scan.message, family, routes, end, false, context);
  if (fault !== undefined) return fault;
  scan.mpReach.nextHop.start = nextHop;
  scan.mpReach.nextHop.end = nextHop + length;
  scan.mpReach.locate(family, routes, end);
  return undefined;
}

function scanMpUnreach(
  scan: UpdateScan,
  { start, end }: AttributeSpan,
  family: AfiSafi | undefined,
  context: UpdateContext,
): string | undefined {
  if (family === undefined) return `at least 3 bytes are wanted (value ${end - start})`;
  const fault = brokenRoute(scan.message, family, start + 3, end, true, context);
  if (fault === undefined) scan.mpUnreach.locate(family, start + 3, end);
  return fault;
}

function nextHopFits(family: AfiSafi, length: number, context: UpdateContext): boolean {
  const row = familyRow(family);
  if (row === undefined || row.nextHop.includes(length)) return true;
  return context.extendedNextHop.has(family) && row.extendedNextHop.includes(length);
}

/** Why the routes between `start` and `end` are not sound. */
function brokenRoute(
  bytes: Buffer,
  family: AfiSafi,
  start: number,
  end: number,
  withdrawn: boolean,
  context: UpdateContext,
): string | undefined {
  const skip = context.addPath.has(family) ? 4 : 0;
  if (family === IPV4_UNICAST && prefixesFit(bytes, start, end, 32, skip)) return undefined;
  if (family === IPV6_UNICAST && prefixesFit(bytes, start, end, 128, skip)) return undefined;
  const row = familyRow(family);
  if (row === undefined) return undefined;
  for (let at = start; at < end; ) {
    const route = at + skip;
    const length = route >= end ? 'a path identifier is cut off' : row.check(bytes, route, end, withdrawn);
    if (typeof length === 'string') return length;
    at = route + length;
  }
  return undefined;
}

/** The loop that a full table goes through: nothing but lengths. */
function prefixesFit(bytes: Buffer, start: number, end: number, maxBits: number, skip: 0 | 4): boolean {
  let at = start;
  while (at < end) {
    at += skip;
    if (at >= end) return false;
    const bits = bytes[at] as number;
    if (bits > maxBits) return false;
    at += 1 + ((bits + 7) >> 3);
  }
  return at === end;
}

/** The two fields of IPv4 unicast: what is broken there leaves nothing to hold on to (RFC 7606 §5.3). */
function checkField(scan: UpdateScan, field: RouteField, context: UpdateContext, withdrawn: boolean): void {
  if (field.empty) return;
  const fault = brokenRoute(scan.message, IPV4_UNICAST, field.start, field.end, withdrawn, context);
  if (fault === undefined) return;
  field.located = false;
  const name = withdrawn ? 'withdrawn routes' : 'NLRI';
  const flaw = { subcode: UPDATE_SUBCODE.invalidNetworkField, message: `${name}: ${fault}` };
  scan.blame('session-reset', flaw, field.start);
}

/** RFC 7606 §3(d). LOCAL_PREF is one of them between internal peers (RFC 4271 §5.1.5). */
function checkMandatory(scan: UpdateScan, context: UpdateContext): void {
  checkPresent(scan, ORIGIN);
  checkPresent(scan, AS_PATH);
  if (!scan.nlriField.empty) checkPresent(scan, NEXT_HOP);
  if (context.session === 'ibgp') checkPresent(scan, LOCAL_PREF);
}

function checkPresent(scan: UpdateScan, code: number): void {
  if (scan.has(code)) return;
  const flaw = { subcode: UPDATE_SUBCODE.missingWellKnown, message: `${attributeName(code)} is missing` };
  scan.blame('treat-as-withdraw', flaw, scan.attributes.start, Buffer.of(code));
}

/** Settles what is to be done, all reasons taken together, and whether announcements become withdrawals. */
function judge(scan: UpdateScan): boolean {
  const withdraw = scan.reasons.some(({ action }) => action === 'treat-as-withdraw');
  // RFC 7606 §5.2: attributes without routes raise the doubt that the routes were among what is broken.
  if (withdraw && scan.others && scan.nlriField.empty && scan.mpReach.empty) {
    const message = 'attributes are in error and there are no routes to withdraw';
    const flaw = { subcode: UPDATE_SUBCODE.malformedAttributeList, message };
    scan.blame('session-reset', flaw, scan.attributes.start);
  }
  scan.action = strongest(scan.reasons.map(({ action }) => action));
  return withdraw;
}

/** An empty UPDATE, or one with nothing but an empty MP_UNREACH_NLRI. */
function detectEndOfRib(scan: UpdateScan): void {
  if (scan.others || scan.reasons.length > 0) return;
  scan.endOfRib = scan.mpUnreach.located ? scan.mpUnreach.family : IPV4_UNICAST;
}
