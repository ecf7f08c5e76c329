import { messageOf } from './errors.ts';

/** From the quietest to the most talkative. */
export const LOG_LEVELS = ['error', 'warning', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type LogFields = Record<string, unknown>;

/** One JSON object per line: `{"time":…,"level":…,"part":…,"message":…,…fields}`. */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warning(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** The same log under the name of a part: `agent`, `bgp`, `store`. */
  part(name: string): Log;
}

/**
 * A log that writes finished lines, newline included, to `write`. Errors among the fields become their
 * message; bigints become strings.
 */
export function createLog(write: (line: string) => void, level: LogLevel = 'info', part = 'tombolo'): Log {
  const threshold = LOG_LEVELS.indexOf(level);
  const at =
    (severity: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(severity) > threshold) return;
      const entry = { time: new Date().toISOString(), level: severity, part, message, ...fields };
      write(`${JSON.stringify(entry, plain)}\n`);
    };
  return {
    error: at('error'),
    warning: at('warning'),
    info: at('info'),
    debug: at('debug'),
    part: (name) => createLog(write, level, name),
  };
}

/** A log that goes nowhere, for cores under test. */
export const silentLog: Log = createLog(() => {}, 'error');

function plain(_key: string, value: unknown): unknown {
  if (value instanceof Error) return messageOf(value);
  return typeof value === 'bigint' ? value.toString() : value;
}
