import type { DownReason } from '../fsm/connection.ts';
import { CEASE, CEASE_SUBCODE, describeNotification, type Notification } from '../wire/notification.ts';

/** How a session, or an attempt at one, ended. */
export interface LastReset {
  readonly reason: DownReason;
  /** In the clock's time. */
  readonly at: number;
  /** Of a connection that ended before it was a session: what was wrong with it. */
  readonly detail?: string;
}

/**
 * Whether the end of a connection that was no session is worth telling. It is not if we wanted it ourselves, to make room for
 * another one or together with a session; and a dial that finds nobody says less than how the last session ended.
 */
export function isWorthTelling(reason: DownReason, before: LastReset | undefined): boolean {
  switch (reason.type) {
    case 'left':
    case 'superseded':
      return false;
    case 'connectionLost':
      return before === undefined;
    case 'notificationSent':
      return reason.notification.code !== CEASE;
    case 'notificationReceived':
      return !isCollision(reason.notification);
    case 'sendHoldTimerExpired':
      return true;
  }
}

function isCollision({ code, subcode }: Notification): boolean {
  return code === CEASE && subcode === CEASE_SUBCODE.collision;
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
