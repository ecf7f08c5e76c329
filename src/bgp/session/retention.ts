import type { DownReason } from '../fsm/connection.ts';
import type { Retention } from '../rib/peer.ts';
import { CEASE, CEASE_SUBCODE, type Notification } from '../wire/notification.ts';
import type { Agreement } from './negotiate.ts';

/**
 * What becomes of a peer's routes when its session ends: how it ended decides (RFC 4724 §4.2, RFC 8538 §4).
 * A TCP connection that breaks is a restart; a NOTIFICATION is one only where both sides have said so, and never if it is a
 * Hard Reset.
 */
export function retentionAfter(reason: DownReason, { restart }: Agreement): Retention {
  if (restart === undefined || restart.families.length === 0) return { kind: 'none' };
  if (!isRestart(reason, restart.notification)) return { kind: 'none' };
  const { restartTime } = restart;
  return { kind: 'stale', families: restart.families.map((family) => ({ ...family, restartTime })) };
}

function isRestart(reason: DownReason, notification: boolean): boolean {
  switch (reason.type) {
    case 'connectionLost':
    case 'superseded':
      return true;
    case 'notificationReceived':
    case 'notificationSent':
      return notification && !isHardReset(reason.notification);
    case 'sendHoldTimerExpired':
      return notification;
    case 'left':
      return false;
  }
}

function isHardReset({ code, subcode }: Notification): boolean {
  return code === CEASE && subcode === CEASE_SUBCODE.hardReset;
}
