import { overlaps, type Prefix, parsePrefix } from './prefix.ts';

/** This network, loopback, link-local, multicast and reserved; unspecified and IPv4 inside IPv6 (RFC 6890, RFC 4291). */
const NOBODYS = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/96',
  '::ffff:0:0/96',
  'fe80::/10',
  'ff00::/8',
].map(parsePrefix);

/** The range that no pod can have which a prefix overlaps, if there is one. */
export function nobodysIn(prefix: Prefix): Prefix | undefined {
  return NOBODYS.find((one) => overlaps(one, prefix));
}
