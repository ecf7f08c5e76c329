import type { Attribute } from './attribute.ts';
import { decodeAttribute } from './attributeCodec.ts';
import { Cursor, type Fault } from './cursor.ts';
import { type AfiSafi, IPV4_UNICAST } from './family.ts';
import { decodeMpReach, decodeMpUnreach, decodeRoutes } from './mp.ts';
import type { Nlri, UnicastNlri } from './nlri.ts';
import { UPDATE_ERROR } from './notification.ts';
import type { Action, Reason } from './reason.ts';
import { scanUpdate } from './scan.ts';
import type { ByteRange, RouteField, UpdateScan } from './updateScan.ts';

/** RFC 4271 §4.3, as it is on the wire: other families than IPv4 unicast stand in the MP attributes. */
export interface Update {
  readonly type: 'UPDATE';
  readonly withdrawn: readonly UnicastNlri[];
  readonly attributes: readonly Attribute[];
  readonly nlri: readonly UnicastNlri[];
}

/** What reading and writing an UPDATE depends on: what the two OPENs agreed upon. */
export interface UpdateContext {
  /**
   * `unknown` for messages out of a capture: rules that differ between the two are not applied, and a well-known
   * attribute unknown to us may be known to those who speak there.
   */
  readonly session: 'ebgp' | 'ibgp' | 'unknown';
  /** AS numbers of four octets in AS_PATH and AGGREGATOR (RFC 6793). */
  readonly asn4: boolean;
  /** Families whose routes carry a path identifier in this direction (RFC 7911). */
  readonly addPath: ReadonlySet<AfiSafi>;
  /** Families whose next hop may be an address of the other family (RFC 8950). */
  readonly extendedNextHop: ReadonlySet<AfiSafi>;
}

/** An UPDATE and RFC 7606's verdict on it. */
export interface DecodedUpdate {
  /**
   * All that could be understood, without the attributes that are malformed or to be discarded. On
   * treat-as-withdraw its routes are the ones to withdraw; on session-reset it only tells people what there was.
   */
  readonly update: Update;
  readonly action?: Action;
  readonly reasons: readonly Reason[];
  readonly disabled: readonly AfiSafi[];
  readonly endOfRib?: AfiSafi;
}

const FAULT: Fault = { code: UPDATE_ERROR, subcode: 1, what: 'UPDATE' };
const MP_REACH_NLRI = 14;
const MP_UNREACH_NLRI = 15;

/** Reads a whole UPDATE into values. Never throws. */
export function decodeUpdate(message: Buffer, context: UpdateContext): DecodedUpdate {
  const scan = scanUpdate(message, context);
  const { action, reasons, disabled, endOfRib } = scan;
  return {
    update: materialise(scan, context),
    ...(action !== undefined && { action }),
    reasons,
    disabled,
    ...(endOfRib !== undefined && { endOfRib }),
  };
}

function materialise(scan: UpdateScan, context: UpdateContext): Update {
  const cursor = ({ start, end }: ByteRange) => new Cursor(scan.message, FAULT, start, end);
  const routes = (range: RouteField, withdrawn: boolean) =>
    (range.located
      ? decodeRoutes(cursor(range), IPV4_UNICAST, withdrawn, context)
      : []) as readonly UnicastNlri[];
  const attributes: Attribute[] = [];
  for (const span of scan.spans.slice(0, scan.kept)) {
    const value = cursor(span);
    if (span.code === MP_REACH_NLRI) attributes.push(decodeMpReach(value, context));
    else if (span.code === MP_UNREACH_NLRI) attributes.push(decodeMpUnreach(value, context));
    else attributes.push(decodeAttribute(span.code, span.flags, value, context));
  }
  return {
    type: 'UPDATE',
    withdrawn: routes(scan.withdrawnField, true),
    attributes,
    nlri: routes(scan.nlriField, false),
  };
}

/** The same routes, all of them withdrawn: what treat-as-withdraw makes of an UPDATE. */
export function withdrawalOf(update: Update): Update {
  const families = new Map<AfiSafi, Nlri[]>();
  for (const attribute of update.attributes) {
    if (attribute.type !== 'MP_REACH_NLRI' && attribute.type !== 'MP_UNREACH_NLRI') continue;
    families.set(attribute.family, [...(families.get(attribute.family) ?? []), ...attribute.nlri]);
  }
  return {
    type: 'UPDATE',
    withdrawn: [...update.withdrawn, ...update.nlri],
    attributes: [...families].map(([family, nlri]) => ({ type: 'MP_UNREACH_NLRI', family, nlri })),
    nlri: [],
  };
}
