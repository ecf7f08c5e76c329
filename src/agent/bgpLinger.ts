import type { NeighbourConfig, RouterConfig } from '../bgp/config/router.ts';

/** How long what the configuration has dropped lasts, in ms: enough for sessions to come up and say all they have to. */
const LINGER_MS = 15_000;

/**
 * Makes before it breaks: when reflectors take the place of the mesh, or leave it to the mesh again, the sessions between
 * nodes and the reflecting itself go on for a while, until the new ways carry everything.
 */
export class Lingering {
  readonly #isNode: (neighbour: NeighbourConfig) => boolean;
  readonly #now: () => number;
  #before: RouterConfig | undefined;
  /** By name of a neighbour, until when; under no name, until when we reflect. */
  #until = new Map<string, number>();

  /** @param isNode Whether a neighbour is a node that is still there: whoever is gone has nothing to wait for. */
  constructor(isNode: (neighbour: NeighbourConfig) => boolean, now: () => number) {
    this.#isNode = isNode;
    this.#now = now;
  }

  /** The configuration with all that lingers, and the time in ms after which to ask again. */
  extend(wanted: RouterConfig): { readonly config: RouterConfig; readonly again: number | undefined } {
    const now = this.#now();
    const before = this.#until;
    this.#until = new Map();
    const lingers = (name: string) => {
      const until = before.get(name) ?? now + LINGER_MS;
      if (until <= now) return false;
      this.#until.set(name, until);
      return true;
    };
    const config = this.#withSessions(this.#withRole(wanted, lingers), lingers);
    this.#before = config;
    const next = Math.min(...this.#until.values());
    return { config, again: this.#until.size > 0 ? next - now : undefined };
  }

  #withRole(config: RouterConfig, lingers: (name: string) => boolean): RouterConfig {
    const clusterId = this.#before?.clusterId;
    if (config.clusterId !== undefined || clusterId === undefined || !lingers('')) return config;
    const reflecting = new Map(this.#before?.neighbours.map((one) => [one.name, one]));
    return {
      ...config,
      clusterId,
      neighbours: config.neighbours.map((one) => reflecting.get(one.name) ?? one),
    };
  }

  #withSessions(config: RouterConfig, lingers: (name: string) => boolean): RouterConfig {
    const names = new Set(config.neighbours.map(({ name }) => name));
    const addresses = new Set(config.neighbours.map(({ address }) => address));
    const kept = (this.#before?.neighbours ?? [])
      .filter(({ name, address }) => !names.has(name) && !addresses.has(address))
      .filter((one) => this.#isNode(one) && lingers(one.name));
    return { ...config, neighbours: [...config.neighbours, ...kept] };
  }
}
