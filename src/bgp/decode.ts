import { messageOf } from '../errors.ts';
import { describeMessage } from './wire/describe.ts';
import { encodeUpdate } from './wire/encodeUpdate.ts';
import { MessageError } from './wire/error.ts';
import { HEADER_LENGTH, MAX_EXTENDED_LENGTH, MAX_LENGTH } from './wire/frame.ts';
import { type DecodedMessage, decodeMessage, encodeMessage } from './wire/message.ts';
import { describeError, type Plain } from './wire/plain.ts';
import { type UpdateContext, withdrawalOf } from './wire/update.ts';

export interface DecodeOptions extends UpdateContext {
  /** Answer with the message that would be sent for what was understood, as hex. */
  readonly reencode: boolean;
}

/**
 * What `tombolo bgp decode` prints for a line of hex: a line of JSON per message in it, or with `reencode` one
 * line of hex. Colons, white space and `0x` in the hex are ignored. Never throws: errors are objects too.
 */
export function decodeLine(line: string, options: DecodeOptions): string[] {
  const bytes = parseHex(line);
  if (!Buffer.isBuffer(bytes)) return [JSON.stringify(bytes)];
  const messages = splitMessages(bytes).map((message) => decode(message, options));
  if (!options.reencode) return messages.map(({ plain }) => JSON.stringify(plain));
  const failed = messages.find(({ plain }) => 'error' in plain);
  if (failed) return [JSON.stringify({ error: failed.plain.error })];
  try {
    return [messages.map(({ bytes: own, message }) => reencode(own, message, options)).join('')];
  } catch (error) {
    return [JSON.stringify({ error: { message: messageOf(error) } })];
  }
}

interface Decoded {
  readonly bytes: Buffer;
  readonly plain: Plain;
  readonly message?: DecodedMessage;
}

function decode(bytes: Buffer, context: UpdateContext): Decoded {
  try {
    const message = decodeMessage(bytes, context);
    const { type, ...fields } = describeMessage(message);
    return { bytes, message, plain: { type, length: bytes.length, ...fields } };
  } catch (error) {
    if (!(error instanceof MessageError)) throw error;
    return { bytes, plain: { length: bytes.length, error: describeError(error) } };
  }
}

function reencode(bytes: Buffer, message: DecodedMessage | undefined, context: UpdateContext): string {
  if (message === undefined) return '';
  if (message.type !== 'UPDATE') return encodeMessage(message).toString('hex');
  const update = message.reasons.some(({ action }) => action === 'treat-as-withdraw')
    ? withdrawalOf(message.update)
    : message.update;
  const limit = bytes.length > MAX_LENGTH ? MAX_EXTENDED_LENGTH : MAX_LENGTH;
  return Buffer.concat(encodeUpdate(update, context, limit)).toString('hex');
}

/** Several messages, if the bytes are exactly that; otherwise all of it as one. */
function splitMessages(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = at + HEADER_LENGTH <= bytes.length ? bytes.readUInt16BE(at + HEADER_LENGTH - 3) : 0;
    if (length < HEADER_LENGTH || at + length > bytes.length) return [bytes];
    messages.push(bytes.subarray(at, at + length));
    at += length;
  }
  return messages.length === 0 ? [bytes] : messages;
}

function parseHex(line: string): Buffer | Plain {
  const digits = line.replace(/0[xX]/g, '').replace(/[\s:]/g, '');
  const wrong = digits.search(/[^0-9a-fA-F]/);
  if (wrong >= 0) {
    const value = JSON.stringify(digits.charAt(wrong));
    return {
      error: { offset: wrong >> 1, message: `Cannot read hex: this is not a digit (value ${value})` },
    };
  }
  if (digits.length % 2 !== 0) {
    const message = `Cannot read hex: a byte has two digits (value ${digits.length} digits)`;
    return { error: { offset: digits.length >> 1, message } };
  }
  return Buffer.from(digits, 'hex');
}
