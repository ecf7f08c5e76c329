import type { Log } from '../../log.ts';
import type { NeighbourConfig } from '../config/router.ts';
import type { DownReason } from '../fsm/connection.ts';
import type { Clock, Rib } from '../rib/rib.ts';
import type { AfiSafi } from '../wire/family.ts';
import type { Agreement, Speaker } from './negotiate.ts';
import type { Transport, TransportEvents } from './transport.ts';

/** What a neighbour needs of the world. */
export interface Surroundings {
  readonly clock: Clock;
  random(): number;
  readonly rib: Rib;
  readonly log: Log;
  speaker(): Speaker;
  /** A connection to the neighbour, being dialled. @throws {Error} If there cannot be one. */
  dial(neighbour: NeighbourConfig, events: TransportEvents): Transport;
  /** Something an operator may want to know of. */
  report(event: NeighbourEvent): void;
  /** Messages of a session are on their way. */
  sent?(neighbour: string, bytes: Uint8Array): void;
}

export type NeighbourEvent =
  | { readonly type: 'established'; readonly neighbour: string; readonly agreement: Agreement }
  /** `restarts`: its routes are kept, for it says that it comes back. */
  | {
      readonly type: 'down';
      readonly neighbour: string;
      readonly reason: DownReason;
      readonly restarts: boolean;
    }
  | { readonly type: 'endOfRib'; readonly neighbour: string; readonly family: AfiSafi }
  | {
      readonly type: 'prefixLimit';
      readonly neighbour: string;
      readonly family: AfiSafi;
      readonly count: number;
      readonly mark: 'warning' | 'exceeded';
    }
  /** The neighbour's last connection is gone. */
  | { readonly type: 'idle'; readonly neighbour: string };
