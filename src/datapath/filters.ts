import { hasCode } from '../ffi/systemError.ts';
import {
  type Direction,
  deleteFilter,
  type FilterPlace,
  listFilters,
  replaceFilter,
} from '../netlink/filter.ts';
import { addClsact } from '../netlink/qdisc.ts';
import type { Netlink } from '../netlink/socket.ts';

/** A place on a device where a program of that name belongs. */
export interface FilterHook {
  readonly program: string;
  readonly index: number;
  readonly direction: Direction;
}

/** Our place among the filters of a hook: first, under our number. */
const PRIORITY = 1;
const HANDLE = 111;

/** Attaches a program by clsact, or puts it in place of the one that is there. */
export function attachFilter(netlink: Netlink, hook: FilterHook, program: number): void {
  try {
    addClsact(netlink, hook.index);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  replaceFilter(netlink, { ...placeOf(hook), programFd: program, name: hook.program });
}

/** Once more does nothing. */
export function detachFilter(netlink: Netlink, hook: FilterHook): void {
  try {
    deleteFilter(netlink, placeOf(hook));
  } catch (error) {
    // EINVAL: there is no clsact either. ENODEV: nor a device.
    if (!hasCode(error, 'ENOENT', 'EINVAL', 'ENODEV')) throw error;
  }
}

/** The number of the program in our place; `undefined` if there is none. */
export function programOfFilter(netlink: Netlink, hook: FilterHook): number | undefined {
  const ours = listFilters(netlink, hook.index, hook.direction).find(
    ({ priority, handle }) => priority === PRIORITY && handle === HANDLE,
  );
  return ours?.programId;
}

function placeOf({ index, direction }: FilterHook): FilterPlace {
  return { index, direction, priority: PRIORITY, handle: HANDLE };
}
