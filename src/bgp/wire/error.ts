/** What a NOTIFICATION says, before anybody decides to send one. */
export interface NotificationCause {
  readonly code: number;
  readonly subcode: number;
  readonly data?: Buffer;
}

/**
 * A message that cannot be understood, and the NOTIFICATION by which the peer is told (RFC 4271 §6). The only
 * error a decoder throws.
 */
export class MessageError extends Error {
  override readonly name = 'MessageError';
  readonly code: number;
  readonly subcode: number;
  readonly data: Buffer;
  /** Where in the message, header included, the trouble starts. */
  readonly offset: number;

  constructor(cause: NotificationCause, message: string, offset: number) {
    super(message);
    this.code = cause.code;
    this.subcode = cause.subcode;
    this.data = Buffer.from(cause.data ?? []);
    this.offset = offset;
  }
}
