/** The addresses and AS numbers of the two racks, as a network engineer would draw them on a board. */

export interface RackPlan {
  readonly name: string;
  readonly number: number;
  /** Of the leaf and of its nodes: iBGP between them, eBGP to the spine. */
  readonly asn: number;
  /** The rack's LAN without the last number; the leaf is 1, nodes are 11 and up. */
  readonly lan: string;
  /** The same for IPv6, a /64. */
  readonly lan6: string;
  /** What the rack's nodes get their segments from. */
  readonly pool: string;
  readonly pool6: string;
  /** The two ends of the link between spine and leaf: a /31, and two numbers of a /64. */
  readonly uplink: { readonly spine: string; readonly leaf: string };
  readonly uplink6: { readonly spine: string; readonly leaf: string };
}

export const SPINE_ASN = 65000;
/** Where a client stands that knows nothing of the cluster. */
export const OUTSIDE = { lan: '10.220.250.0/24', spine: '10.220.250.1', client: '10.220.250.10' };
export const OUTSIDE6 = { lan: 'fd20:250::/64', spine: 'fd20:250::1', client: 'fd20:250::10' };
/** Service addresses that the outside may know. */
export const [VIPS, VIPS6] = ['10.222.0.0/24', 'fd22::/112'];
/** The one service's addresses inside the cluster, and the ranges that they are out of. */
export const [CLUSTER_IP, CLUSTER_IP6] = ['10.223.0.7', 'fd23::7'];
export const CLUSTER_IPS = ['10.223.0.0/24', 'fd23::/112'];
/** Of the service, at its own addresses and at those of nodes. */
export const [SERVICE_PORT, NODE_PORT] = [80, 30080];
/** Both pools. */
export const PODS = '10.221.0.0/19';

export const RACKS: readonly [RackPlan, RackPlan] = [
  {
    name: 'a',
    number: 1,
    asn: 65101,
    lan: '10.220.1',
    lan6: 'fd20:1::',
    pool: '10.221.0.0/20',
    pool6: 'fd21:1::/112',
    uplink: { spine: '10.220.101.0', leaf: '10.220.101.1' },
    uplink6: { spine: 'fd20:101::2', leaf: 'fd20:101::1' },
  },
  {
    name: 'b',
    number: 2,
    asn: 65102,
    lan: '10.220.2',
    lan6: 'fd20:2::',
    pool: '10.221.16.0/20',
    pool6: 'fd21:2::/112',
    uplink: { spine: '10.220.102.0', leaf: '10.220.102.1' },
    uplink6: { spine: 'fd20:102::2', leaf: 'fd20:102::1' },
  },
];

export function leafAddress({ lan }: RackPlan): string {
  return `${lan}.1`;
}

export function leafAddress6({ lan6 }: RackPlan): string {
  return `${lan6}1`;
}

/** @param number 1 for the rack's first node. */
export function nodeAddress({ lan }: RackPlan, number: number): string {
  return `${lan}.${10 + number}`;
}

export function nodeAddress6({ lan6 }: RackPlan, number: number): string {
  return `${lan6}${10 + number}`;
}
