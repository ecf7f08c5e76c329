import { isDeepStrictEqual } from 'node:util';
import { type Prefix, parsePrefix } from '../address/prefix.ts';
import type { Change } from '../store/follow.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import { Inventory } from './inventory.ts';

/**
 * Which cluster IPs clients outside may ask: those that any node announces. What one node is asked for another one has to answer,
 * whatever it announces itself.
 */
export class AnnouncedClusterIPs {
  readonly #configurations = new Inventory<BGPConfiguration>(({ spec }) => spec.serviceClusterIPs);
  #ranges: readonly Prefix[] = [];

  /** Whether they are known: before that, an address would be taken from clients that an earlier run has served. */
  get listed(): boolean {
    return this.#configurations.listed;
  }

  get ranges(): readonly Prefix[] {
    return this.#ranges;
  }

  /** @returns Whether they are others now, or known for the first time. */
  take(change: Change<BGPConfiguration>): boolean {
    const [before, wasListed] = [this.#ranges, this.listed];
    if (!this.#configurations.take(change)) return false;
    this.#ranges = this.#configurations
      .all()
      .flatMap(({ spec }) => spec.serviceClusterIPs ?? [])
      .map(({ cidr }) => parsePrefix(cidr));
    return this.listed !== wasListed || !isDeepStrictEqual(this.#ranges, before);
  }
}
