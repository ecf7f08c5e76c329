import type { IP } from '../../address/ip.ts';
import type { Neighbour } from '../session/neighbour.ts';

/** A neighbour that came out of a range is gone with its session. */
export interface Member {
  readonly neighbour: Neighbour;
  readonly range: string | undefined;
}

/** The neighbours of a speaker, found by name and by address: thousands may connect in the same second. */
export class Members implements Iterable<Member> {
  readonly #byName = new Map<string, Member>();
  /** Under which address a neighbour is to be found; its configuration may have another by now. */
  readonly #addresses = new Map<string, IP>();
  /** A link-local address may be several neighbours', each on a device of its own. */
  readonly #byAddress = new Map<IP, readonly Neighbour[]>();
  readonly #perRange = new Map<string, number>();

  [Symbol.iterator](): Iterator<Member> {
    return [...this.#byName.values()][Symbol.iterator]();
  }

  get(name: string): Member | undefined {
    return this.#byName.get(name);
  }

  at(address: IP): readonly Neighbour[] {
    return this.#byAddress.get(address) ?? [];
  }

  /** How many came out of a range. */
  countOf(range: string): number {
    return this.#perRange.get(range) ?? 0;
  }

  /** Takes a neighbour in, in the place of the one of that name; or notes that its address has changed. */
  put(neighbour: Neighbour, range: string | undefined): void {
    const { name, address } = neighbour.config;
    this.#forget(name);
    this.#byName.set(name, { neighbour, range });
    this.#addresses.set(name, address);
    this.#byAddress.set(address, [...this.at(address), neighbour]);
    if (range !== undefined) this.#perRange.set(range, this.countOf(range) + 1);
  }

  remove(name: string): void {
    this.#forget(name);
    this.#byName.delete(name);
  }

  clear(): void {
    for (const index of [this.#byName, this.#addresses, this.#byAddress, this.#perRange]) index.clear();
  }

  #forget(name: string): void {
    const member = this.#byName.get(name);
    const address = this.#addresses.get(name);
    if (member === undefined || address === undefined) return;
    this.#addresses.delete(name);
    const others = this.at(address).filter((one) => one !== member.neighbour);
    if (others.length > 0) this.#byAddress.set(address, others);
    else this.#byAddress.delete(address);
    if (member.range !== undefined) this.#perRange.set(member.range, this.countOf(member.range) - 1);
  }
}
