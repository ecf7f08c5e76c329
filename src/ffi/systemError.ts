import { constants } from 'node:os';

/** Of two names for one number the last counts: EOPNOTSUPP, not ENOTSUP; but EAGAIN, not EWOULDBLOCK. */
const NAMES = new Map(
  Object.entries(constants.errno)
    .filter(([name]) => name !== 'EWOULDBLOCK')
    .map(([name, number]) => [number, name]),
);

/** The symbolic name of an errno value, `E524` for one that libc has no name for. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

/**
 * A system call that failed. Callers branch on {@link code}; the message names the call and its object:
 * `Cannot <call>: <errno name> (<detail>)`.
 */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  /** The symbolic errno: `ENOENT`. */
  readonly code: string;
  /** The positive errno value. */
  readonly errno: number;

  constructor(what: string, errno: number, detail?: string) {
    super(`Cannot ${what}: ${errnoName(errno)}${detail ? ` (${detail})` : ''}`);
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

/** Whether a disk without room is at the bottom of it. */
export function isDiskFull(error: unknown): boolean {
  if (hasCode(error, 'ENOSPC', 'EDQUOT')) return true;
  return error instanceof Error && error.cause !== undefined && isDiskFull(error.cause);
}

/** Whether `error` carries one of these symbolic errno codes; Node's own errors count too. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}
