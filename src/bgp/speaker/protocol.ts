import type { LogLevel } from '../../log.ts';
import type { RouterConfig } from '../config/router.ts';
import type { Answer } from './api.ts';
import type { SpeakerEvent } from './speaker.ts';

/** What the agent's main thread and the speaker's thread tell each other, as structured clones. */

/** With what the thread is born. */
export interface ThreadData {
  readonly tombolo: 'bgp';
  readonly config: RouterConfig;
  readonly state: string | undefined;
  readonly logLevel: LogLevel;
}

export type ToThread =
  | { readonly type: 'configure'; readonly config: RouterConfig }
  | { readonly type: 'ask'; readonly id: number; readonly method: string; readonly path: string }
  | { readonly type: 'stop'; readonly how: 'restart' | 'shutdown'; readonly text: string };

export type FromThread =
  | { readonly type: 'started' }
  /** The speaker could not start, or could not take a configuration. */
  | { readonly type: 'failed'; readonly error: string }
  | { readonly type: 'answer'; readonly id: number; readonly answer: Answer }
  | { readonly type: 'event'; readonly event: SpeakerEvent }
  /** A finished line of the log. */
  | { readonly type: 'log'; readonly line: string }
  | { readonly type: 'stopped' };
