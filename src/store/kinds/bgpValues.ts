import { type IP, parseIP } from '../../address/ip.ts';
import { specialOf } from '../../address/nobodys.ts';
import { listOf, object, oneOf, parsedBy, type Schema, text } from '../schema.ts';
import { parseDuration } from './duration.ts';
import { PATTERNS } from './patterns.ts';

/** A key of a Secret: `{secretKeyRef: {name, key}}`. */
export const secretKeyRef = object({}, { secretKeyRef: object({ name: text(), key: text() }, {}) });

/** The tables of a router that a BMP station may be told of (RFC 7854, 8671, 9069). */
export const MONITORED_VIEWS = ['adj-rib-in-pre', 'adj-rib-in-post', 'adj-rib-out-post', 'loc-rib'] as const;

/** `90s`. */
export const duration = parsedBy(parseDuration, 'a duration', PATTERNS.duration);

/** The same, of so many seconds at least and at most; `zero`: or none at all, where that switches something off. */
export function durationOf(least: number, most: number, zero = false): Schema<string> {
  const range = `${least}s to ${most}s`;
  return parsedBy(
    (value) => {
      const seconds = parseDuration(value);
      if ((seconds >= least && seconds <= most) || (zero && seconds === 0)) return;
      throw new SyntaxError(`expected ${zero ? `0s, or ${range}` : range}`);
    },
    'a duration',
    PATTERNS.duration,
  );
}

/** How long a peer that starts anew may keep others waiting: 12 bits of RFC 4724 §3. */
export const restartTime = durationOf(1, 4095);

/** `64512:100` (RFC 1997) or `64512:1:2` (RFC 8092). */
export const communityText = parsedBy(checkCommunity, 'a community', PATTERNS.community);

/** `10.0.0.1`, `10.0.0.1:1179`, `2001:db8::1` or `[2001:db8::1]:1179`. */
export const addressAndPort = parsedBy(
  parseAddressAndPort,
  'an address, or an address and a port',
  PATTERNS.addressAndPort,
);

/** The same of whom a speaker connects to. */
export const remoteAddress = parsedBy(
  (value) => reachable(parseAddressAndPort(value)),
  'an address, or an address and a port',
  PATTERNS.addressAndPort,
);

/** The same of a peer: `127.0.0.1:1790` is another speaker of the node. */
export const peerAddress = parsedBy(
  parsePeerAddress,
  'an address, or an address and a port',
  PATTERNS.addressAndPort,
);

/** BMP stations. */
export const bmpServers = listOf(
  object(
    { address: remoteAddress },
    { views: listOf(oneOf(...MONITORED_VIEWS), { min: 1 }), statisticsInterval: duration },
  ),
);

/** @throws {SyntaxError} If nobody can be reached there. */
export function parsePeerAddress(value: string): AddressAndPort {
  const peer = parseAddressAndPort(value);
  if (specialOf(peer.address) === 'loopback' && peer.port === undefined) {
    throw new SyntaxError('it is this node itself: name the port of another speaker on it');
  }
  return reachable(peer);
}

function reachable(one: AddressAndPort): AddressAndPort {
  const special = specialOf(one.address);
  if (special !== undefined && special !== 'loopback' && special !== 'link-local') {
    throw new SyntaxError(`it is ${special}`);
  }
  return one;
}

export interface AddressAndPort {
  readonly address: IP;
  readonly port: number | undefined;
}

/**
 * Takes apart an address with an optional port; brackets tell where an IPv6 address ends.
 *
 * @throws {SyntaxError} If the text is neither.
 */
export function parseAddressAndPort(value: string): AddressAndPort {
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(value) ?? /^([^:]+)(?::(\d{1,5}))?$/.exec(value);
  const port = match?.[2] === undefined ? undefined : Number(match[2]);
  if (port !== undefined && (port < 1 || port > 65535)) throw new SyntaxError(`the port is out of range`);
  return { address: parseIP(match?.[1] ?? value), port };
}

function checkCommunity(value: string): void {
  const parts = value.split(':');
  const most = parts.length === 2 ? 0xffff : 0xffffffff;
  const fits = parts.every((part) => /^(0|[1-9]\d{0,9})$/.test(part) && Number(part) <= most);
  if (!fits || parts.length < 2 || parts.length > 3) {
    throw new SyntaxError('expected two numbers up to 65535, or three up to 4294967295');
  }
}
