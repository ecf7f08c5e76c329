import type * as Koffi from 'koffi';
import { koffi } from './koffi.ts';
import { SystemError } from './systemError.ts';

let library: Koffi.LibraryHandle | undefined;

/**
 * A function of libc, by its C prototype: `libc('int setns(int, int)')`. Declaring costs 30 µs, so modules
 * keep the result.
 */
// biome-ignore lint/suspicious/noExplicitAny: a C prototype is typed by the caller.
export function libc<F extends (...parameters: any[]) => unknown>(prototype: string): F {
  library ??= koffi().load(null);
  return library.func(prototype) as unknown as F;
}

/**
 * Passes on the result of a libc call that reports failure as −1.
 *
 * @throws {SystemError} With the errno of the calling thread, if `result` is negative.
 */
export function checked(result: number, what: string, detail?: string): number {
  if (result < 0) throw new SystemError(what, koffi().errno(), detail);
  return result;
}
