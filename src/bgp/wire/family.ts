declare const afiSafi: unique symbol;

/** An address family and its subsequent one (RFC 4760 §3) as one number: `AFI << 8 | SAFI`. */
export type AfiSafi = number & { readonly [afiSafi]: true };

export function afiSafiOf(afi: number, safi: number): AfiSafi {
  return ((afi << 8) | safi) as AfiSafi;
}

export const AFI_IPV4 = 1;
export const AFI_IPV6 = 2;
export const AFI_L2VPN = 25;

export const IPV4_UNICAST = afiSafiOf(AFI_IPV4, 1);
export const IPV6_UNICAST = afiSafiOf(AFI_IPV6, 1);
/** RFC 4364 and RFC 4659. */
export const IPV4_VPN = afiSafiOf(AFI_IPV4, 128);
export const IPV6_VPN = afiSafiOf(AFI_IPV6, 128);
/** RFC 7432. */
export const L2VPN_EVPN = afiSafiOf(AFI_L2VPN, 70);
/** RFC 4684. */
export const ROUTE_TARGET = afiSafiOf(AFI_IPV4, 132);

const NAMES: ReadonlyMap<AfiSafi, string> = new Map([
  [IPV4_UNICAST, 'ipv4-unicast'],
  [IPV6_UNICAST, 'ipv6-unicast'],
  [IPV4_VPN, 'ipv4-vpn'],
  [IPV6_VPN, 'ipv6-vpn'],
  [L2VPN_EVPN, 'l2vpn-evpn'],
  [ROUTE_TARGET, 'route-target'],
  // Named, and otherwise bytes to us.
  [afiSafiOf(AFI_IPV4, 2), 'ipv4-multicast'],
  [afiSafiOf(AFI_IPV6, 2), 'ipv6-multicast'],
  [afiSafiOf(AFI_IPV4, 4), 'ipv4-labelled-unicast'],
  [afiSafiOf(AFI_IPV6, 4), 'ipv6-labelled-unicast'],
  [afiSafiOf(AFI_IPV4, 133), 'ipv4-flowspec'],
  [afiSafiOf(AFI_IPV6, 133), 'ipv6-flowspec'],
  [afiSafiOf(AFI_L2VPN, 65), 'l2vpn-vpls'],
  [afiSafiOf(16388, 71), 'bgp-ls'],
]);

const ALIASES: ReadonlyMap<string, AfiSafi> = new Map([
  ...[...NAMES].map(([family, name]): [string, AfiSafi] => [name, family]),
  ['ipv4', IPV4_UNICAST],
  ['ipv6', IPV6_UNICAST],
  ['vpnv4', IPV4_VPN],
  ['vpnv6', IPV6_VPN],
  ['evpn', L2VPN_EVPN],
  ['rtc', ROUTE_TARGET],
]);

export function afiOf(family: AfiSafi): number {
  return family >>> 8;
}

export function safiOf(family: AfiSafi): number {
  return family & 255;
}

/** `ipv4-unicast`, or `AFI/SAFI` as numbers for a family without a name here. */
export function familyName(family: AfiSafi): string {
  return NAMES.get(family) ?? `${afiOf(family)}/${safiOf(family)}`;
}

/**
 * Parses `ipv4-unicast`, its short form `ipv4`, or `1/1`.
 *
 * @throws {SyntaxError} If the text names no family.
 */
export function parseFamily(text: string): AfiSafi {
  const word = text.trim().toLowerCase().replaceAll('_', '-').replaceAll(' ', '-');
  const known = ALIASES.get(word) ?? ALIASES.get(word.replace('/', '-'));
  if (known !== undefined) return known;
  const [, afi, safi] = /^(\d{1,5})\/(\d{1,3})$/.exec(word) ?? [];
  if (afi === undefined || Number(afi) > 0xffff || Number(safi) > 255) {
    throw new SyntaxError(
      `Cannot parse address family: expected one of ${[...NAMES.values()].join(', ')} or AFI/SAFI (value ${JSON.stringify(text)})`,
    );
  }
  return afiSafiOf(Number(afi), Number(safi));
}
