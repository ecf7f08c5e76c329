import type { KoffiFunc } from 'koffi';
import { libc } from '../ffi/libc.ts';

/** What netlink needs of libc, each declared on first use. All return −1 with errno on failure. */

type Setns = (fd: number, kind: number) => number;
type Socket = (family: number, type: number, protocol: number) => number;
type Address = (fd: number, address: Buffer, length: number) => number;
type Option = (fd: number, level: number, option: number, value: Buffer, length: Buffer | number) => number;
type Transfer = (fd: number, bytes: Buffer, length: number, flags: number) => number;

export const setns = once(() => libc<Setns>('int setns(int, int)'));
export const socket = once(() => libc<Socket>('int socket(int, int, int)'));
export const bind = once(() => libc<Address>('int bind(int, void *, unsigned int)'));
export const getsockopt = once(() => libc<Option>('int getsockopt(int, int, int, void *, void *)'));
export const setsockopt = once(() => libc<Option>('int setsockopt(int, int, int, void *, unsigned int)'));
export const send = once(() => libc<KoffiFunc<Transfer>>('intptr_t send(int, void *, size_t, int)'));
export const recv = once(() => libc<KoffiFunc<Transfer>>('intptr_t recv(int, void *, size_t, int)'));

function once<T>(declare: () => T): () => T {
  let declared: T | undefined;
  return () => {
    declared ??= declare();
    return declared;
  };
}
