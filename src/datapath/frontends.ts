import { formatIP, type IP } from '../address/ip.ts';
import type { FrontendView } from './backendSet.ts';
import type { Endpoint } from './maps/endpoint.ts';
import type { Service } from './maps/services.ts';
import { type Draft, wildcardKey } from './places.ts';
import {
  type AddressUse,
  entryOf,
  type ProgrammedSet,
  placeOf,
  sameEntry,
  wildcardOf,
} from './programmedSet.ts';
import type { Problem } from './servicePlan.ts';

/** Which set each frontend leads to: what `tb_services` says. */
export class Frontends {
  readonly #sets: ReadonlyMap<string, ProgrammedSet>;
  readonly #owners = new Map<string, string>();
  /** Sets that would have a frontend next, in the order they asked. */
  readonly #waiting = new Map<string, readonly string[]>();
  readonly #addresses = new Map<string, AddressUse>();

  /** @param sets Every set by its key, kept up to date by the caller. */
  constructor(sets: ReadonlyMap<string, ProgrammedSet>) {
    this.#sets = sets;
  }

  /** The key of the set that a frontend leads to. */
  ownerOf(frontend: Endpoint): string | undefined {
    return this.#owners.get(placeOf(frontend));
  }

  /** How many entries `tb_services` should have. */
  get size(): number {
    return this.#owners.size + this.#addresses.size;
  }

  /** What `tb_services` should say of a frontend, or of an address as such. */
  entryAt(key: Endpoint): Service | undefined {
    if (key.port === 0) return wildcardOf(this.#addresses.get(placeOf(key)) ?? { all: 0, shared: 0 });
    const owner = this.ownerOf(key);
    const set = owner === undefined ? undefined : this.#sets.get(owner);
    return set && entryOf(set);
  }

  /** Who asks for a frontend that another set has. */
  clashes(): Problem[] {
    return [...this.#waiting].flatMap(([id, sets]) =>
      sets.flatMap((key) => {
        const set = this.#sets.get(key);
        const frontend = set?.frontends.find((candidate) => idIn(set, candidate) === id);
        if (frontend === undefined) return [];
        return {
          set: key,
          text: `${formatIP(frontend.address)} is served by ${this.#owners.get(id)} already`,
        };
      }),
    );
  }

  /** Hands all that one set owns to another, without a change to the map. */
  rename(draft: Draft, set: ProgrammedSet, to: string): void {
    for (const { address } of set.frontends)
      draft.undo.set(this.#owners, placeOf(endpointOf(set, address)), to);
  }

  /** Moves the frontends of `before` to what `after` wants; both under the same key. */
  change(draft: Draft, before: ProgrammedSet | undefined, after: ProgrammedSet | undefined): void {
    const old = new Map(before?.frontends.map((frontend) => [idIn(before, frontend), frontend]));
    for (const frontend of after?.frontends ?? []) {
      if (after === undefined) continue;
      const id = idIn(after, frontend);
      const was = old.get(id);
      old.delete(id);
      if (was === undefined) this.#claim(draft, after, frontend);
      else if (was.shared !== frontend.shared) this.#share(draft, after, frontend);
    }
    if (before === undefined) return;
    if (after !== undefined && !sameEntry(entryOf(before), entryOf(after)))
      this.#rewrite(draft, before, after);
    for (const gone of old.values()) this.#release(draft, before, gone);
  }

  /** A frontend that another set owns comes to this one when the other lets go of it. */
  #claim(draft: Draft, set: ProgrammedSet, frontend: FrontendView): void {
    const key = endpointOf(set, frontend.address);
    const id = placeOf(key);
    const owner = this.#owners.get(id);
    if (owner !== undefined) {
      draft.undo.set(this.#waiting, id, [...(this.#waiting.get(id) ?? []), set.key]);
      return;
    }
    draft.undo.set(this.#owners, id, set.key);
    draft.plan.service(id, { key, value: entryOf(set), was: undefined });
    this.#count(draft, wildcardKey(frontend.address, set.scope), 1, frontend.shared ? 1 : 0);
  }

  #release(draft: Draft, set: ProgrammedSet, { address, shared }: FrontendView): void {
    const key = endpointOf(set, address);
    const id = placeOf(key);
    const waiting = this.#waiting.get(id) ?? [];
    if (this.#owners.get(id) !== set.key) {
      this.#setWaiting(
        draft,
        id,
        waiting.filter((other) => other !== set.key),
      );
      return;
    }
    draft.undo.set(this.#owners, id, undefined);
    draft.plan.service(id, { key, value: undefined, was: entryOf(set) });
    this.#count(draft, wildcardKey(address, set.scope), -1, shared ? -1 : 0);
    const [next, ...rest] = waiting;
    if (next === undefined) return;
    this.#setWaiting(draft, id, rest);
    const heir = this.#sets.get(next);
    const frontend = heir?.frontends.find((candidate) => candidate.address === address);
    if (heir !== undefined && frontend !== undefined) this.#claim(draft, heir, frontend);
  }

  #setWaiting(draft: Draft, id: string, waiting: readonly string[]): void {
    draft.undo.set(this.#waiting, id, waiting.length > 0 ? waiting : undefined);
  }

  #share(draft: Draft, set: ProgrammedSet, { address, shared }: FrontendView): void {
    if (this.ownerOf(endpointOf(set, address)) !== set.key) return;
    this.#count(draft, wildcardKey(address, set.scope), 0, shared ? 1 : -1);
  }

  #rewrite(draft: Draft, before: ProgrammedSet, after: ProgrammedSet): void {
    for (const { address } of after.frontends) {
      const key = endpointOf(after, address);
      if (this.ownerOf(key) !== after.key) continue;
      draft.plan.service(placeOf(key), { key, value: entryOf(after), was: entryOf(before) });
    }
  }

  #count(draft: Draft, key: Endpoint, all: number, shared: number): void {
    const id = placeOf(key);
    const before = this.#addresses.get(id) ?? { all: 0, shared: 0 };
    const after = { all: before.all + all, shared: before.shared + shared };
    draft.undo.set(this.#addresses, id, after.all > 0 ? after : undefined);
    const was = wildcardOf(before);
    const value = wildcardOf(after);
    if (was?.flags === value?.flags) return;
    draft.plan.service(id, { key, value, was });
  }
}

function idIn(set: ProgrammedSet, { address }: FrontendView): string {
  return placeOf(endpointOf(set, address));
}

function endpointOf({ port, protocol, scope }: ProgrammedSet, address: IP): Endpoint {
  return { address, port, protocol, scope };
}
