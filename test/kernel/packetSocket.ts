import { closeSync } from 'node:fs';
import { koffi } from '../../src/ffi/koffi.ts';
import { checked } from '../../src/ffi/libc.ts';
import { SystemError } from '../../src/ffi/systemError.ts';
import { bind, recv, send, socket } from '../../src/netlink/syscalls.ts';
import type { TestNamespace } from './namespaces.ts';

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK_CLOEXEC = 0o2004003;
/** ETH_P_ALL in network order. */
const ALL = 0x0300;
const EAGAIN = 11;
const ENOBUFS = 105;

/** Frames on a device, as they are (man 7 packet): what is sent passes tc egress, what is seen has passed it. */
export class PacketSocket {
  readonly #fd: number;

  constructor(namespace: TestNamespace, device: string) {
    const { ifindex } = namespace.ip(`link show ${device}`)[0];
    this.#fd = namespace.inside(() =>
      checked(socket()(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, ALL), 'open a packet socket'),
    );
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16LE(ALL, 2);
    address.writeInt32LE(ifindex, 4);
    checked(bind()(this.#fd, address, address.length), `bind a packet socket to ${device}`);
  }

  /** Sends; returns whether the frame was taken. One that a program at egress drops is refused as ENOBUFS. */
  send(frame: Buffer): boolean {
    if (Number(send()(this.#fd, frame, frame.length, 0)) >= 0) return true;
    const errno = koffi().errno();
    if (errno === ENOBUFS) return false;
    throw new SystemError('send a frame', errno);
  }

  /** The frames since last time. */
  frames(): Buffer[] {
    const frames: Buffer[] = [];
    for (;;) {
      const room = Buffer.alloc(65600);
      const length = Number(recv()(this.#fd, room, room.length, 0));
      if (length >= 0) frames.push(room.subarray(0, length));
      else if (koffi().errno() === EAGAIN) return frames;
      else throw new SystemError('read a frame', koffi().errno());
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}
