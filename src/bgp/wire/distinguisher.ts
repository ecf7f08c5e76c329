import { formatIPv4, type IPv4 } from '../../address/ip.ts';

declare const distinguisher: unique symbol;

/** A route distinguisher as its eight bytes in network order (RFC 4364 §4.2). */
export type RouteDistinguisher = bigint & { readonly [distinguisher]: true };

/** `64512:100` (type 0), `10.0.0.1:100` (type 1), `4200000000:100` (type 2), else 16 hex digits. */
export function formatDistinguisher(value: RouteDistinguisher): string {
  const type = Number(value >> 48n);
  if (type === 0) return `${(value >> 32n) & 0xffffn}:${value & 0xffffffffn}`;
  const administrator = Number((value >> 16n) & 0xffffffffn);
  const number = value & 0xffffn;
  if (type === 1) return `${formatIPv4(administrator as IPv4)}:${number}`;
  if (type === 2) return `${administrator}:${number}`;
  return value.toString(16).padStart(16, '0');
}
