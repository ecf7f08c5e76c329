import { chainOf, messageOf } from '../../src/errors.ts';

/** Well-known error codes (CNI specification 1.1.0, section 2 "Error"). */
export const CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  undecodable: 6,
  invalidConfiguration: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** From 100 on the codes are the plugin's own. */
  failed: 100,
} as const;

/** A failed verb, in the words of the specification: `code` for the runtime, `message` for people. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: number;
  /** What stands behind the message, one cause per line. */
  readonly details: string;

  constructor(code: number, message: string, details: string | { cause: unknown } = '') {
    super(message, typeof details === 'string' ? undefined : details);
    this.code = code;
    this.details = typeof details === 'string' ? details : chainOf(details.cause).join('\n');
  }
}

/** `error` as it is if it already speaks CNI, otherwise under `code`. */
export function asCniError(error: unknown, code: number = CODE.failed): CniError {
  if (error instanceof CniError) return error;
  const [, ...causes] = chainOf(error);
  return new CniError(code, messageOf(error), causes.join('\n'));
}

/** The object a plugin prints in place of a result. */
export function formatError(error: CniError, cniVersion: string): string {
  const { code, message: msg, details } = error;
  return `${JSON.stringify({ cniVersion, code, msg, ...(details && { details }) })}\n`;
}
