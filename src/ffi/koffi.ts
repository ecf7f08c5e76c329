import type * as Koffi from 'koffi';
import { loadAddon } from './addonFromModules.ts';

type Addon = typeof Koffi;

let addon: Addon | undefined;

/**
 * Koffi, loaded on first use: 1 ms that commands without a system call of their own need not pay.
 *
 * @throws {Error} If the native addon cannot be loaded.
 */
export function koffi(): Addon {
  addon ??= loadAddon() as Addon;
  return addon;
}
