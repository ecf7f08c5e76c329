import type { MessageType } from '../wire/frame.ts';

/** Messages, by type. */
export type Counters = Record<MessageType, number>;

export function noMessages(): Counters {
  return { OPEN: 0, UPDATE: 0, NOTIFICATION: 0, KEEPALIVE: 0, 'ROUTE-REFRESH': 0 };
}
