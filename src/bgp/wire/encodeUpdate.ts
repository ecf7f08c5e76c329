import { needsFourOctets, withoutConfederations } from './asPath.ts';
import { type Aggregator, type Attribute, findAttribute, type MpReach, type MpUnreach } from './attribute.ts';
import { codeOf, writeAttribute, writeRaw } from './attributeCodec.ts';
import { FLAG_EXTENDED, FLAG_OPTIONAL } from './attributeRow.ts';
import { type AfiSafi, IPV4_UNICAST } from './family.ts';
import { HEADER_LENGTH, MAX_LENGTH, writeHeader } from './frame.ts';
import { encodeMpReachHead, encodeMpUnreachHead, encodeRoute } from './mp.ts';
import type { Nlri } from './nlri.ts';
import type { Update, UpdateContext } from './update.ts';
import { Writer } from './writer.ts';

const MP_REACH_NLRI = 14;
const MP_UNREACH_NLRI = 15;
/** Header, and the two length fields. */
const OVERHEAD = HEADER_LENGTH + 4;
/** Flags, type and a length of two bytes, which an MP attribute may need. */
const LONG_ATTRIBUTE = 4;
const NOTHING = Buffer.alloc(0);

/**
 * The messages that say what `update` says: withdrawals first, then announcements, one family per message (RFC
 * 7606 §5.1), as many messages as `maxLength` makes necessary. Attributes stand in ascending order behind the
 * MP attribute. Towards a two-octet speaker AS4_PATH and AS4_AGGREGATOR are added where they are needed.
 *
 * @throws {RangeError} If the attributes leave no room for a route: such routes have to be withdrawn instead.
 */
export function encodeUpdate(update: Update, context: UpdateContext, maxLength = MAX_LENGTH): Buffer[] {
  const { withdrawn, nlri } = update;
  const reach = update.attributes.filter((one): one is MpReach => one.type === 'MP_REACH_NLRI');
  const unreach = update.attributes.filter((one): one is MpUnreach => one.type === 'MP_UNREACH_NLRI');
  const others = update.attributes.filter(
    (one) => one.type !== 'MP_REACH_NLRI' && one.type !== 'MP_UNREACH_NLRI',
  );
  const attributes = encodeAttributes(others, context);
  const messages = [
    ...pack(withdrawn, IPV4_UNICAST, true, context, maxLength - OVERHEAD).map((routes) =>
      assemble(routes, NOTHING, NOTHING),
    ),
    ...unreach.flatMap((one) => encodeMpUnreach(one, context, maxLength)),
    ...pack(nlri, IPV4_UNICAST, false, context, maxLength - OVERHEAD - attributes.length).map((routes) =>
      assemble(NOTHING, attributes, routes),
    ),
    ...reach.flatMap((one) => encodeMpReach(one, attributes, context, maxLength)),
  ];
  if (messages.length > 0) return messages;
  return [assemble(NOTHING, attributes, NOTHING)];
}

/** All routes of `family` have been sent (RFC 4724 §2). */
export function encodeEndOfRib(family: AfiSafi): Buffer {
  if (family === IPV4_UNICAST) return assemble(NOTHING, NOTHING, NOTHING);
  return assembleMp(MP_UNREACH_NLRI, encodeMpUnreachHead(family), NOTHING, NOTHING);
}

/** The attributes as a block, in ascending order; MP_* are not among them. */
export function encodeAttributes(attributes: readonly Attribute[], context: UpdateContext): Buffer {
  const to = new Writer();
  const all = context.asn4 ? attributes : [...attributes, ...fourOctetCompanions(attributes)];
  for (const attribute of all.toSorted((a, b) => codeOf(a) - codeOf(b)))
    writeAttribute(attribute, to, context);
  return to.done();
}

/** RFC 6793 §4.2.2: what a two-octet speaker passes on without understanding it. */
function fourOctetCompanions(attributes: readonly Attribute[]): Attribute[] {
  const companions: Attribute[] = [];
  const path = findAttribute(attributes, 'AS_PATH');
  if (path && needsFourOctets(path.segments) && !findAttribute(attributes, 'AS4_PATH')) {
    companions.push({ type: 'AS4_PATH', segments: withoutConfederations(path.segments) });
  }
  const aggregator: Aggregator | undefined = findAttribute(attributes, 'AGGREGATOR');
  if (aggregator && aggregator.asn > 0xffff && !findAttribute(attributes, 'AS4_AGGREGATOR')) {
    companions.push({ ...aggregator, type: 'AS4_AGGREGATOR' });
  }
  return companions;
}

function encodeMpReach(
  { family, nextHop, nlri }: MpReach,
  attributes: Buffer,
  context: UpdateContext,
  maxLength: number,
): Buffer[] {
  const head = encodeMpReachHead(family, nextHop);
  const room = maxLength - OVERHEAD - attributes.length - LONG_ATTRIBUTE - head.length;
  const parts = nlri.length === 0 ? [NOTHING] : pack(nlri, family, false, context, room);
  return parts.map((routes) => assembleMp(MP_REACH_NLRI, head, routes, attributes));
}

function encodeMpUnreach({ family, nlri }: MpUnreach, context: UpdateContext, maxLength: number): Buffer[] {
  const head = encodeMpUnreachHead(family);
  const room = maxLength - OVERHEAD - LONG_ATTRIBUTE - head.length;
  const parts = nlri.length === 0 ? [NOTHING] : pack(nlri, family, true, context, room);
  return parts.map((routes) => assembleMp(MP_UNREACH_NLRI, head, routes, NOTHING));
}

/** Routes as bytes, in as few parts of at most `room` bytes as their order allows. */
function pack(
  routes: readonly Nlri[],
  family: AfiSafi,
  withdrawn: boolean,
  context: UpdateContext,
  room: number,
): Buffer[] {
  const parts: Buffer[] = [];
  let part: Buffer[] = [];
  let length = 0;
  for (const route of routes) {
    const bytes = encodeRoute(route, family, withdrawn, context);
    if (bytes.length > room) {
      throw new RangeError(`Cannot write UPDATE: the attributes leave no room for a route (value ${room})`);
    }
    if (length + bytes.length > room) {
      parts.push(Buffer.concat(part));
      part = [];
      length = 0;
    }
    part.push(bytes);
    length += bytes.length;
  }
  if (part.length > 0) parts.push(Buffer.concat(part));
  return parts;
}

/** The MP attribute is the first one (RFC 7606 §5.1). */
function assembleMp(code: number, head: Buffer, routes: Buffer, attributes: Buffer): Buffer {
  const to = new Writer();
  // End-of-RIB has the long length in BIRD, FRR and ExaBGP; some receivers compare bytes.
  const endOfRib = code === MP_UNREACH_NLRI && routes.length === 0;
  writeRaw(endOfRib ? FLAG_OPTIONAL | FLAG_EXTENDED : FLAG_OPTIONAL, code, to, () =>
    to.put(head).put(routes),
  );
  return assemble(NOTHING, to.put(attributes).view(), NOTHING);
}

function assemble(withdrawn: Uint8Array, attributes: Uint8Array, nlri: Uint8Array): Buffer {
  const message = Buffer.alloc(OVERHEAD + withdrawn.length + attributes.length + nlri.length);
  let at = message.writeUInt16BE(withdrawn.length, HEADER_LENGTH);
  message.set(withdrawn, at);
  at = message.writeUInt16BE(attributes.length, at + withdrawn.length);
  message.set(attributes, at);
  message.set(nlri, at + attributes.length);
  writeHeader(message, 'UPDATE');
  return message;
}
