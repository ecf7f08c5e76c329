import { checkHeader, HEADER_LENGTH, MAX_LENGTH, type MessageType } from '../wire/frame.ts';

const LENGTH_AT = 16;

/**
 * Cuts what a socket delivers into messages, as many at a time as the caller has time for. What is left over
 * waits here, never more than was taken in one read and one message.
 */
export class MessageReader {
  /** Raise it to MAX_EXTENDED_LENGTH once both OPENs have been exchanged. */
  maxLength = MAX_LENGTH;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  /** Whether a header, and so perhaps a whole message, is waiting. */
  get waiting(): boolean {
    return this.#bytes.length - this.#at >= HEADER_LENGTH;
  }

  /** Takes a chunk. It is looked at in place until {@link settle}, so it must stay as it is until then. */
  take(chunk: Buffer): void {
    const left = this.#bytes.subarray(this.#at);
    this.#bytes = left.length === 0 ? chunk : Buffer.concat([left, chunk]);
    this.#at = 0;
  }

  /**
   * Hands the next whole message to `receive`, as a view that is valid during the call.
   *
   * @returns `false` if there is none.
   * @throws {MessageError} 1/1, 1/2 or 1/3: the stream cannot be continued.
   */
  next(receive: (message: Buffer, type: MessageType) => void): boolean {
    const at = this.#at;
    if (this.#bytes.length - at < HEADER_LENGTH) return false;
    const type = checkHeader(this.#bytes, at, this.maxLength);
    const end = at + this.#bytes.readUInt16BE(at + LENGTH_AT);
    if (end > this.#bytes.length) return false;
    this.#at = end;
    receive(this.#bytes.subarray(at, end), type);
    return true;
  }

  /** Copies what is left, for the chunk's memory belongs to the next read. */
  settle(): void {
    this.#bytes = Buffer.from(this.#bytes.subarray(this.#at));
    this.#at = 0;
  }
}
