/**
 * The finite state machine of one BGP connection (RFC 4271 §8), as a pure function. Timers are deadlines
 * inside the states that have them: a state cannot be left with a timer still running, and whoever drives the machine
 * needs one clock only, set to {@link deadlineOf}.
 */
import { unreachable } from '../../errors.ts';
import { FSM_ERROR, HOLD_TIMER_EXPIRED, type Notification } from '../wire/notification.ts';
import {
  earliest,
  holdDeadline,
  isDue,
  jittered,
  LARGE_HOLD_TIME,
  type Moment,
  nextKeepalive,
  sendHoldDeadline,
  type TimerOptions,
} from './timers.ts';

/** The states of RFC 4271 §8.2.2 by their names there. An absent deadline is a timer that does not run. */
export type State =
  | { readonly name: 'Idle'; readonly startAt: number | undefined }
  | { readonly name: 'Connect'; readonly wait: Wait }
  | { readonly name: 'Active'; readonly wait: Wait }
  | { readonly name: 'OpenSent'; readonly holdAt: number }
  | ({ readonly name: 'OpenConfirm' } & Alive)
  | ({
      readonly name: 'Established';
      readonly since: number;
      readonly sendHoldAt: number | undefined;
    } & Alive);

export type StateName = State['name'];

/** What Connect and Active wait for: the ConnectRetryTimer, or with TCP up already the DelayOpenTimer. */
type Wait =
  | { readonly for: 'tcp'; readonly retryAt: number | undefined }
  | { readonly for: 'delayOpen'; readonly until: number };

interface Alive {
  /** As negotiated, in ms; 0 means that neither side sends KEEPALIVEs. */
  readonly holdTime: number;
  readonly holdAt: number | undefined;
  readonly keepaliveAt: number | undefined;
}

/** What can happen to a connection; the numbers are those of the events in RFC 4271 §8.1. */
export type Event =
  /** 1, 3: begin. */
  | { readonly type: 'start' }
  /** 2, 8, 23: end, with this NOTIFICATION, or without a word so that a graceful restart follows. */
  | { readonly type: 'stop'; readonly notification: Notification | undefined }
  /** The peer has lost this connection: it shows up with a new one (RFC 4724 §5). */
  | { readonly type: 'superseded' }
  /** 9 to 13, 29: time has passed; every deadline is looked at. */
  | { readonly type: 'tick' }
  /** 16, 17: TCP is up. */
  | { readonly type: 'connected' }
  /** 18: TCP could not be brought up, or has ended. */
  | { readonly type: 'disconnected'; readonly error: string }
  /** 19, 20: an OPEN we agree with; the hold time is the negotiated one, in ms. */
  | { readonly type: 'open'; readonly holdTime: number }
  /** 21, 22, 28: a message that must be answered by ending the session. */
  | { readonly type: 'malformed'; readonly notification: Notification }
  /** 24, 25. */
  | { readonly type: 'notification'; readonly notification: Notification }
  /** 26. */
  | { readonly type: 'keepalive' }
  /** 27, and ROUTE-REFRESH, which is welcome in the same states. */
  | { readonly type: 'update' }
  /** The peer's TCP has taken some of our bytes. */
  | { readonly type: 'sent' };

/** Why a connection ended; the label of metrics and the text of `tombolo bgp neighbors`. */
export type DownReason =
  | { readonly type: 'notificationSent'; readonly notification: Notification }
  | { readonly type: 'notificationReceived'; readonly notification: Notification }
  | { readonly type: 'connectionLost'; readonly error: string }
  | { readonly type: 'sendHoldTimerExpired' }
  | { readonly type: 'superseded' }
  | { readonly type: 'left' };

/** What the driver must do, in this order. */
export type Effect =
  | { readonly type: 'connect' }
  | { readonly type: 'sendOpen' }
  | { readonly type: 'sendKeepalive' }
  | { readonly type: 'sendNotification'; readonly notification: Notification }
  /** `flush` lets the last NOTIFICATION out; `abort` resets the connection. */
  | { readonly type: 'close'; readonly how: 'flush' | 'abort' }
  | { readonly type: 'established' }
  /** The connection is over; `wasEstablished` if routes had been exchanged over it. */
  | { readonly type: 'down'; readonly reason: DownReason; readonly wasEstablished: boolean };

export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
}

export const idle: State = { name: 'Idle', startAt: undefined };

/** The next moment at which the connection wants a `tick`. */
export function deadlineOf(state: State): number | undefined {
  switch (state.name) {
    case 'Idle':
      return state.startAt;
    case 'Connect':
    case 'Active':
      return state.wait.for === 'tcp' ? state.wait.retryAt : state.wait.until;
    case 'OpenSent':
      return state.holdAt;
    case 'OpenConfirm':
      return earliest(state.holdAt, state.keepaliveAt);
    case 'Established':
      return earliest(state.holdAt, state.keepaliveAt, state.sendHoldAt);
    default:
      return unreachable(state);
  }
}

/** One step of the machine. Never throws: what a state does not expect is answered as RFC 4271 and 6608 say. */
export function step(state: State, event: Event, at: Moment, options: TimerOptions): Step {
  switch (state.name) {
    case 'Idle':
      return stepIdle(state, event, at, options);
    case 'Connect':
    case 'Active':
      return stepWaiting(state, event, at, options);
    case 'OpenSent':
      return stepOpenSent(state, event, at, options);
    case 'OpenConfirm':
      return stepOpenConfirm(state, event, at, options);
    case 'Established':
      return stepEstablished(state, event, at, options);
    default:
      return unreachable(state);
  }
}

type In<N extends StateName> = Extract<State, { name: N }>;

function stepIdle(state: In<'Idle'>, event: Event, at: Moment, options: TimerOptions): Step {
  switch (event.type) {
    case 'start':
      return begin(at, options);
    case 'tick':
      return isDue(state.startAt, at) ? begin(at, options) : stay(state);
    case 'stop':
      return stay(idle);
    default:
      return stay(state);
  }
}

function begin(at: Moment, options: TimerOptions): Step {
  return options.passive ? stay(listening(at, options)) : dial(at, options);
}

function dial(at: Moment, options: TimerOptions): Step {
  const retryAt = at.now + jittered(options.connectRetryTime, at);
  return { state: { name: 'Connect', wait: { for: 'tcp', retryAt } }, effects: [{ type: 'connect' }] };
}

function listening(at: Moment, options: TimerOptions): State {
  const retryAt = options.passive ? undefined : at.now + jittered(options.connectRetryTime, at);
  return { name: 'Active', wait: { for: 'tcp', retryAt } };
}

function stepWaiting(state: In<'Connect' | 'Active'>, event: Event, at: Moment, options: TimerOptions): Step {
  const delayed = state.wait.for === 'delayOpen';
  switch (event.type) {
    case 'tick':
      if (!isDue(deadlineOf(state), at)) return stay(state);
      return delayed ? sendOpen(at) : redial(state, at, options);
    case 'connected':
      if (delayed) return stay(state);
      if (options.delayOpenTime === 0) return sendOpen(at);
      return stay({ ...state, wait: { for: 'delayOpen', until: at.now + options.delayOpenTime } });
    case 'disconnected':
      if (state.name === 'Active' && !delayed) return stay(state);
      return {
        state: listening(at, options),
        effects: [closed('abort'), down({ type: 'connectionLost', error: event.error })],
      };
    case 'open':
      return delayed ? confirm(event.holdTime, [{ type: 'sendOpen' }], at, options) : stay(state);
    case 'malformed':
      return delayed ? refuse(event.notification) : stay(state);
    case 'notification':
      return delayed ? told(event.notification) : stay(state);
    case 'keepalive':
    case 'update':
      return delayed ? refuse(unexpectedIn.Waiting) : stay(state);
    case 'stop':
    case 'superseded':
      return over([closed('abort')], { type: 'left' });
    case 'start':
    case 'sent':
      return stay(state);
    default:
      return unreachable(event);
  }
}

function redial(state: In<'Connect' | 'Active'>, at: Moment, options: TimerOptions): Step {
  const { state: next, effects } = dial(at, options);
  return { state: next, effects: state.name === 'Connect' ? [closed('abort'), ...effects] : effects };
}

function sendOpen(at: Moment): Step {
  return {
    state: { name: 'OpenSent', holdAt: at.now + LARGE_HOLD_TIME },
    effects: [{ type: 'sendOpen' }],
  };
}

function stepOpenSent(state: In<'OpenSent'>, event: Event, at: Moment, options: TimerOptions): Step {
  switch (event.type) {
    case 'tick':
      return isDue(state.holdAt, at) ? refuse(holdTimerExpired) : stay(state);
    case 'open':
      return confirm(event.holdTime, [], at, options);
    case 'disconnected':
      return {
        state: listening(at, options),
        effects: [closed('abort'), down({ type: 'connectionLost', error: event.error })],
      };
    case 'keepalive':
    case 'update':
      return refuse(unexpectedIn.OpenSent);
    default:
      return stepAnywhere(state, event);
  }
}

function confirm(holdTime: number, before: readonly Effect[], at: Moment, options: TimerOptions): Step {
  return {
    state: { name: 'OpenConfirm', ...alive(holdTime, at, options) },
    effects: [...before, { type: 'sendKeepalive' }],
  };
}

function stepOpenConfirm(state: In<'OpenConfirm'>, event: Event, at: Moment, options: TimerOptions): Step {
  switch (event.type) {
    case 'tick':
      if (isDue(state.holdAt, at)) return refuse(holdTimerExpired);
      return isDue(state.keepaliveAt, at) ? keepAlive(state, at, options) : stay(state);
    case 'keepalive':
      return {
        state: {
          ...state,
          name: 'Established',
          since: at.now,
          holdAt: holdDeadline(state.holdTime, at),
          sendHoldAt: sendHoldDeadline(state.holdTime, options, at),
        },
        effects: [{ type: 'established' }],
      };
    case 'disconnected':
      return over([closed('abort')], { type: 'connectionLost', error: event.error });
    case 'open':
    case 'update':
      return refuse(unexpectedIn.OpenConfirm);
    default:
      return stepAnywhere(state, event);
  }
}

function stepEstablished(state: In<'Established'>, event: Event, at: Moment, options: TimerOptions): Step {
  switch (event.type) {
    case 'tick':
      if (isDue(state.holdAt, at)) return refuse(holdTimerExpired, true);
      // The peer takes nothing, so it will not take a NOTIFICATION either (RFC 9687 §3).
      if (isDue(state.sendHoldAt, at)) return over([closed('abort')], { type: 'sendHoldTimerExpired' }, true);
      return isDue(state.keepaliveAt, at) ? keepAlive(state, at, options) : stay(state);
    case 'keepalive':
    case 'update':
      return stay({ ...state, holdAt: holdDeadline(state.holdTime, at) });
    case 'sent':
      return stay({ ...state, sendHoldAt: sendHoldDeadline(state.holdTime, options, at) });
    case 'disconnected':
      return over([closed('abort')], { type: 'connectionLost', error: event.error }, true);
    case 'open':
      return refuse(unexpectedIn.Established, true);
    default:
      return stepAnywhere(state, event);
  }
}

/** What OpenSent, OpenConfirm and Established do alike. */
function stepAnywhere(state: In<'OpenSent' | 'OpenConfirm' | 'Established'>, event: Event): Step {
  const wasEstablished = state.name === 'Established';
  switch (event.type) {
    case 'stop':
      if (event.notification === undefined) return over([closed('flush')], { type: 'left' }, wasEstablished);
      return refuse(event.notification, wasEstablished);
    case 'superseded':
      return over([closed('abort')], { type: 'superseded' }, wasEstablished);
    case 'malformed':
      return refuse(event.notification, wasEstablished);
    case 'notification':
      return told(event.notification, wasEstablished);
    default:
      return stay(state);
  }
}

/** RFC 4271 §6.5. */
const holdTimerExpired = notification(HOLD_TIMER_EXPIRED, 0);

/** The subcodes of the Finite State Machine Error say in which state the message came (RFC 6608). */
const unexpectedIn = {
  Waiting: notification(FSM_ERROR, 0),
  OpenSent: notification(FSM_ERROR, 1),
  OpenConfirm: notification(FSM_ERROR, 2),
  Established: notification(FSM_ERROR, 3),
};

function notification(code: number, subcode: number): Notification {
  return { type: 'NOTIFICATION', code, subcode, data: Buffer.alloc(0) };
}

function alive(holdTime: number, at: Moment, options: TimerOptions): Alive {
  return {
    holdTime,
    holdAt: holdDeadline(holdTime, at),
    keepaliveAt: nextKeepalive(holdTime, options, at),
  };
}

function keepAlive(state: In<'OpenConfirm' | 'Established'>, at: Moment, options: TimerOptions): Step {
  return {
    state: { ...state, keepaliveAt: nextKeepalive(state.holdTime, options, at) },
    effects: [{ type: 'sendKeepalive' }],
  };
}

function stay(state: State): Step {
  return { state, effects: [] };
}

/** Ends the connection with a NOTIFICATION of ours. */
function refuse(notification: Notification, wasEstablished = false): Step {
  return over(
    [{ type: 'sendNotification', notification }, closed('flush')],
    { type: 'notificationSent', notification },
    wasEstablished,
  );
}

/** Ends the connection because the peer says so. */
function told(notification: Notification, wasEstablished = false): Step {
  return over([closed('flush')], { type: 'notificationReceived', notification }, wasEstablished);
}

function over(effects: readonly Effect[], reason: DownReason, wasEstablished = false): Step {
  return { state: idle, effects: [...effects, down(reason, wasEstablished)] };
}

function closed(how: 'flush' | 'abort'): Effect {
  return { type: 'close', how };
}

function down(reason: DownReason, wasEstablished = false): Effect {
  return { type: 'down', reason, wasEstablished };
}
