import { comparePrefixes, formatPrefix } from '../../address/prefix.ts';
import type { Fib, FibEntry } from '../fib/fib.ts';

/** What became of a route that BGP has chosen; the JSON of `tombolo bgp kernel -o json`. */
export interface KernelEntry {
  readonly prefix: string;
  readonly state: FibEntry['state'];
  /** Where it leads, or why it does not. */
  readonly detail: string;
}

/** Nothing, where no route of ours enters the kernel. */
export function kernelReport(fib: Fib | undefined): KernelEntry[] {
  return (fib?.entries() ?? [])
    .toSorted((a, b) => comparePrefixes(a.prefix, b.prefix))
    .map(({ prefix, state, detail }) => ({ prefix: formatPrefix(prefix), state, detail }));
}
