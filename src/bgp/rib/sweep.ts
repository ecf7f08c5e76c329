import type { AdjRibIn } from './adjRibIn.ts';
import type { RouteTable } from './routeTable.ts';

interface Task {
  readonly routes: AdjRibIn;
  /** Rows still to be visited. */
  left: number;
}

/**
 * Goes round all paths of a family, in portions, and tidies those of the peers that asked. Peers that go at the
 * same time share one round.
 */
export class Sweep {
  readonly #table: RouteTable;
  readonly #done: (peer: number) => void;
  readonly #tasks = new Map<number, Task>();
  #row = 0;

  /** `done` hears of each peer all of whose paths have been visited. */
  constructor(table: RouteTable, done: (peer: number) => void) {
    this.#table = table;
    this.#done = done;
  }

  get isIdle(): boolean {
    return this.#tasks.size === 0;
  }

  /** Visits all paths of `peer`, again from here on if a visit is under way. */
  ask(peer: number, routes: AdjRibIn): void {
    this.#tasks.set(peer, { routes, left: this.#table.pathEnd });
  }

  cancel(peer: number): void {
    this.#tasks.delete(peer);
  }

  step(rows: number): void {
    const { peer } = this.#table;
    for (let count = 0; count < rows && this.#tasks.size > 0; count++) {
      if (this.#row >= this.#table.pathEnd) this.#row = 0;
      const task = this.#tasks.get(peer[this.#row] as number);
      if (task && this.#row > 0 && this.#table.received[this.#row] !== 0) task.routes.tidy(this.#row);
      this.#row++;
    }
    for (const [number, task] of this.#tasks) {
      task.left -= rows;
      if (task.left > 0) continue;
      this.#tasks.delete(number);
      this.#done(number);
    }
  }
}
