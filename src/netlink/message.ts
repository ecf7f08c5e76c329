import { SystemError } from '../ffi/systemError.ts';
import { type Attribute, Attributes, align, concat, readAttributes } from './attribute.ts';

/** `struct nlmsghdr` and the control messages, man 7 netlink. */

const HEADER = 16;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
/** For changes: what may be there already. */
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** In an error: the request is not repeated; explaining attributes follow. */
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;

const NLMSGERR_ATTR = { MSG: 1, OFFS: 2, MISS_TYPE: 5 } as const;

/** What is asked of the kernel, before it has a sequence number. */
export interface Request {
  readonly type: number;
  readonly flags: number;
  /** `struct ifinfomsg`, `struct rtmsg` and the like. */
  readonly header: Buffer;
  readonly attributes: Attribute[];
  /** For errors, after "Cannot": `add link eth0`. */
  readonly what: string;
  /** The header's attributes by their kernel names, for errors: `{ IFLA_MTU: 4 }`. */
  readonly names?: Readonly<Record<string, number>>;
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** What a message of the kernel says about the request with its sequence number. */
export type Answer =
  | { readonly kind: 'object'; readonly message: Message }
  | { readonly kind: 'done'; readonly errno: number; readonly explanation: Explanation };

/** The extended acknowledgement, Linux 4.12. */
export interface Explanation {
  readonly text?: string;
  /** Of the attribute at fault, from the start of the request. */
  readonly offset?: number;
  readonly missingType?: number;
}

export function writeMessage(request: Request, sequence: number): Buffer {
  const body = concat([request.header, ...request.attributes]);
  const header = Buffer.alloc(HEADER);
  header.writeUInt32LE(HEADER + body.length, 0);
  header.writeUInt16LE(request.type, 4);
  header.writeUInt16LE(request.flags | NLM_F_REQUEST, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, body, Buffer.alloc(align(body.length) - body.length)]);
}

/**
 * Cuts a datagram into its messages, whose payloads remain parts of it.
 *
 * @throws {RangeError} If a message is shorter than its header or reaches beyond the end.
 */
export function readMessages(datagram: Buffer): Message[] {
  const messages: Message[] = [];
  for (let offset = 0; offset < datagram.length; ) {
    const left = datagram.length - offset;
    const length = left < HEADER ? 0 : datagram.readUInt32LE(offset);
    if (length < HEADER || length > left) {
      throw new RangeError(
        `Cannot read netlink message at offset ${offset}: ${left} bytes are left (value ${length})`,
      );
    }
    messages.push({
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      payload: datagram.subarray(offset + HEADER, offset + length),
    });
    offset += align(length);
  }
  return messages;
}

/** @throws {RangeError} If a control message is cut short. */
export function readAnswer(message: Message): Answer {
  const { type, flags, payload } = message;
  if (type !== NLMSG_ERROR && type !== NLMSG_DONE) return { kind: 'object', message };
  // Old kernels end a dump without a status.
  if (type === NLMSG_DONE && payload.length < 4) return { kind: 'done', errno: 0, explanation: {} };
  const errno = -payload.readInt32LE(0);
  if ((flags & NLM_F_ACK_TLVS) === 0) return { kind: 'done', errno, explanation: {} };
  return { kind: 'done', errno, explanation: readExplanation(payload, explanationOffset(message)) };
}

/** After the status of a dump; after the status and the request, or only its header, of anything else. */
function explanationOffset({ type, flags, payload }: Message): number {
  if (type === NLMSG_DONE) return 4;
  const repeated = flags & NLM_F_CAPPED ? HEADER : align(payload.readUInt32LE(4));
  return 4 + repeated;
}

function readExplanation(payload: Buffer, start: number): Explanation {
  const attributes = new Attributes(payload, start);
  const said = attributes.text(NLMSGERR_ATTR.MSG);
  const offset = attributes.u32(NLMSGERR_ATTR.OFFS);
  const missingType = attributes.u32(NLMSGERR_ATTR.MISS_TYPE);
  return {
    ...(said !== undefined && { text: said }),
    ...(offset !== undefined && { offset }),
    ...(missingType !== undefined && { missingType }),
  };
}

/** `Cannot add link eth0: EINVAL (invalid MTU, attribute IFLA_MTU)`. */
export function refusal(request: Request, errno: number, explanation: Explanation): SystemError {
  const { text, offset, missingType } = explanation;
  const said = [
    text?.trim(),
    offset !== undefined ? attributeAt(request, offset) : undefined,
    missingType !== undefined ? `missing ${nameOf(request, missingType)}` : undefined,
  ];
  return new SystemError(request.what, errno, said.filter(Boolean).join(', '));
}

/** The outermost attribute that holds the byte at `offset` of the message. */
function attributeAt(request: Request, offset: number): string | undefined {
  const body = concat([request.header, ...request.attributes]);
  const holder = readAttributes(body, align(request.header.length)).findLast(
    (attribute) => attribute.offset + HEADER <= offset,
  );
  return holder && nameOf(request, holder.type);
}

function nameOf({ names = {} }: Request, type: number): string {
  const name = Object.keys(names).find((key) => names[key] === type);
  return `attribute ${name ?? type}`;
}
