import { hasCode } from '../ffi/systemError.ts';
import { deleteFilter, type FilterPlace, listFilters, replaceFilter } from '../netlink/filter.ts';
import { addClsact } from '../netlink/qdisc.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { PodHook } from './podHooks.ts';

/** Our place among the filters of a hook: first, under our number. */
const PRIORITY = 1;
const HANDLE = 111;

/** Attaches a program by clsact, or puts it in place of the one that is there. */
export function attachByFilter(netlink: Netlink, hook: PodHook, program: number): void {
  try {
    addClsact(netlink, hook.index);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  replaceFilter(netlink, { ...placeOf(hook), programFd: program, name: hook.program });
}

/** Once more does nothing. */
export function detachFilter(netlink: Netlink, hook: PodHook): void {
  try {
    deleteFilter(netlink, placeOf(hook));
  } catch (error) {
    // EINVAL: there is no clsact either.
    if (!hasCode(error, 'ENOENT', 'EINVAL')) throw error;
  }
}

/** The number of the program in our place; `undefined` if there is none. */
export function programOfFilter(netlink: Netlink, hook: PodHook): number | undefined {
  const ours = listFilters(netlink, hook.index, hook.direction).find(
    ({ priority, handle }) => priority === PRIORITY && handle === HANDLE,
  );
  return ours?.programId;
}

function placeOf({ index, direction }: PodHook): FilterPlace {
  return { index, direction, priority: PRIORITY, handle: HANDLE };
}
