import type { DownReason } from '../fsm/connection.ts';
import { describeNotification } from '../wire/notification.ts';

/** How a session, or an attempt at one, ended. */
export interface LastReset {
  readonly reason: DownReason;
  /** In the clock's time. */
  readonly at: number;
  /** Of a connection that ended before it was a session: what was wrong with it. */
  readonly detail?: string;
}

/** How a session ended, in one line with its direction. */
export function describeReset(reason: DownReason): string {
  switch (reason.type) {
    case 'notificationSent':
      return `sent ${describeNotification(reason.notification)}`;
    case 'notificationReceived':
      return `received ${describeNotification(reason.notification)}`;
    case 'connectionLost':
      return `connection lost: ${reason.error}`;
    case 'sendHoldTimerExpired':
      return 'send hold timer expired: the peer took no bytes';
    case 'superseded':
      return 'the peer restarted and came back on a new connection';
    case 'left':
      return 'left without a word, for a graceful restart';
  }
}
