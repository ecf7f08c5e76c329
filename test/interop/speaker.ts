import type { Daemon } from './router.ts';

/** What every speaker under test can say, however its own tools put it. */
export interface Speaker {
  readonly daemon: Daemon;
  /** Whether the session with this address is established. */
  isUp(peer: string): boolean;
  /** The prefixes of a family in its table that came from peers. */
  learned(family: 4 | 6): string[];
  stop(signal?: NodeJS.Signals): Promise<void>;
}
