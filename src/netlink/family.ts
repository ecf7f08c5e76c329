import { type Family, familyOf, type IP } from '../address/ip.ts';

/** Address families as the kernel numbers them (include/linux/socket.h). */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export function kernelFamily(family: Family | undefined): number {
  if (family === undefined) return AF_UNSPEC;
  return family === 4 ? AF_INET : AF_INET6;
}

export function kernelFamilyOf(address: IP): number {
  return kernelFamily(familyOf(address));
}

/** `undefined` for families other than IPv4 and IPv6. */
export function familyFromKernel(number: number): Family | undefined {
  if (number === AF_INET) return 4;
  return number === AF_INET6 ? 6 : undefined;
}
