import { hasCode } from '../ffi/systemError.ts';
import {
  type Direction,
  deleteFilter,
  type FilterPlace,
  listFilters,
  replaceFilter,
} from '../netlink/filter.ts';
import { ensureClsact } from '../netlink/qdisc.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { PinnedPrograms } from './pinnedPrograms.ts';

/** A place on a device where a program of that name belongs. */
export interface FilterHook {
  readonly program: string;
  readonly index: number;
  readonly direction: Direction;
  /** 1 where absent: programs at one hook are asked in this order, while they leave the packet to the next. */
  readonly priority?: number;
}

/** Our place among the filters of a hook: the first ones, under our number. */
const FIRST = 1;
const HANDLE = 111;

/**
 * Makes the places for programs. Between that and the first program in them the kernel waits for an RCU grace period
 * (mini_qdisc_pair_swap in net/sched/sch_generic.c): places made before the same wait share it.
 */
export function prepareFilters(netlink: Netlink, hooks: readonly FilterHook[]): void {
  netlink.batch((batch) => {
    for (const index of new Set(hooks.map((hook) => hook.index))) ensureClsact(batch, index);
  });
}

/** Attaches programs by clsact, or puts them in place of those that are there. */
export function attachFilters(
  netlink: Netlink,
  hooks: readonly FilterHook[],
  programs: PinnedPrograms,
): void {
  netlink.batch((batch) => {
    for (const index of new Set(hooks.map((hook) => hook.index))) ensureClsact(batch, index);
    for (const hook of hooks) {
      const { program: name } = hook;
      replaceFilter(batch, { ...placeOf(hook), programFd: programs.get(name), name });
    }
  });
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
    ({ priority, handle }) => priority === (hook.priority ?? FIRST) && handle === HANDLE,
  );
  return ours?.programId;
}

function placeOf({ index, direction, priority = FIRST }: FilterHook): FilterPlace {
  return { index, direction, priority, handle: HANDLE };
}
