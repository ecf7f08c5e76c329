import type { IP } from '../address/ip.ts';
import type { Endpoint, Scope } from './maps/endpoint.ts';
import { type ProgrammedBackend, placeOf } from './programmedSet.ts';
import type { Changes } from './servicePlan.ts';
import type { UndoLog } from './undoLog.ts';

/** Changes being made, and how to take them back. */
export interface Draft {
  readonly plan: Changes;
  readonly undo: UndoLog;
}

/** Where backends are, whatever their service: what `tb_endpoints` says. */
export class Places {
  /** Backend numbers at a place, the lowest of which stands in the map. */
  readonly #numbers = new Map<string, readonly number[]>();
  /** How many places there are at an address. */
  readonly #addresses = new Map<IP, number>();

  /** How many entries `tb_endpoints` should have. */
  get size(): number {
    return this.#numbers.size + this.#addresses.size;
  }

  /** What `tb_endpoints` should say of a place. */
  entryAt(key: Endpoint): number | undefined {
    if (key.port === 0) return this.#addresses.has(key.address) ? 0 : undefined;
    return this.#numbers.get(placeOf(key))?.[0];
  }

  enter(draft: Draft, backend: ProgrammedBackend, protocol: number): void {
    this.#change(draft, backend, protocol, (numbers) => [...numbers, backend.number].sort((a, b) => a - b));
  }

  leave(draft: Draft, backend: ProgrammedBackend, protocol: number): void {
    this.#change(draft, backend, protocol, (numbers) =>
      numbers.filter((number) => number !== backend.number),
    );
  }

  #change(
    draft: Draft,
    { address, port }: ProgrammedBackend,
    protocol: number,
    next: (numbers: readonly number[]) => readonly number[],
  ): void {
    const key = { address, port, protocol };
    const id = placeOf(key);
    const before = this.#numbers.get(id) ?? [];
    const after = next(before);
    draft.undo.set(this.#numbers, id, after.length > 0 ? after : undefined);
    if (before[0] === after[0]) return;
    draft.plan.endpoint(id, { key, value: after[0], was: before[0] });
    if (before.length === 0) this.#count(draft, address, 1);
    if (after.length === 0) this.#count(draft, address, -1);
  }

  #count(draft: Draft, address: IP, by: number): void {
    const before = this.#addresses.get(address) ?? 0;
    const after = before + by;
    draft.undo.set(this.#addresses, address, after > 0 ? after : undefined);
    if (before > 0 === after > 0) return;
    const key = wildcardKey(address);
    const entry = (count: number) => (count > 0 ? 0 : undefined);
    draft.plan.endpoint(placeOf(key), { key, value: entry(after), was: entry(before) });
  }
}

/** The address as such. */
export function wildcardKey(address: IP, scope?: Scope): Endpoint {
  return { address, port: 0, protocol: 0, scope };
}
