import type { Segment } from '../ipam/segment.ts';
import type { Change } from '../store/follow.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';

/** How long released addresses rest: as their pool says, otherwise as the node's configuration does. */
export class Cooldowns {
  readonly #otherwise: number;
  /** In ms, by pool. */
  readonly #pools = new Map<string, number>();

  /** @param otherwise In ms. */
  constructor(otherwise: number) {
    this.#otherwise = otherwise;
  }

  /** In ms. */
  readonly of = ({ pool }: Pick<Segment, 'pool'>): number =>
    (pool === undefined ? undefined : this.#pools.get(pool)) ?? this.#otherwise;

  readonly onPool = (change: Change<IPPool>): void => {
    if (change.type === 'interrupted') return;
    if (change.type === 'replaced') {
      this.#pools.clear();
      for (const pool of change.objects) this.#take(pool);
    } else if (change.type === 'applied') this.#take(change.object);
    else this.#pools.delete(change.object.metadata.name);
  };

  #take({ metadata: { name }, spec: { cooldownSeconds } }: IPPool): void {
    if (cooldownSeconds === undefined) this.#pools.delete(name);
    else this.#pools.set(name, cooldownSeconds * 1000);
  }
}
