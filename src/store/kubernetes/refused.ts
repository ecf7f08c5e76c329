/** What a client is told instead of what it asked for: a `Status` of Kubernetes. */
export class Refused extends Error {
  /** Of HTTP. */
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}
