import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { formatIP, type IP, isLinkLocal } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import { messageOf } from '../../errors.ts';
import type { Endpoint } from '../config/router.ts';
import { MessageError } from '../wire/error.ts';
import type { MessageType } from '../wire/frame.ts';
import { Outbox } from './outbox.ts';
import { MessageReader } from './reader.ts';
import { localAddressOf, sendNow, setKey } from './socket.ts';
import type { Turns } from './turns.ts';

/** One buffer for all sockets: what a read delivers is worked off, or copied, before the next one. */
const READ_BUFFER = Buffer.allocUnsafeSlow(1 << 16);

/** How long a last NOTIFICATION may take to leave, in ms. */
const FLUSH_TIME = 1_000;

/** What a connection tells its neighbour. Nothing more comes after `closed`. */
export interface TransportEvents {
  connected(): void;
  /** Valid during the call. */
  message(message: Buffer, type: MessageType): void;
  /** The bytes are no BGP; the stream cannot be continued. */
  broken(error: MessageError): void;
  /** All messages of a read have been handed over. */
  settled(): void;
  /** The peer's TCP has taken some of our bytes. */
  sent(): void;
  /** The outbox has room again. */
  room(): void;
  closed(reason: string): void;
}

/** A TCP connection that carries BGP messages. */
export class Transport {
  readonly #fd: number;
  readonly #socket: Socket;
  readonly #turns: Turns;
  readonly #reader = new MessageReader();
  readonly #outbox: Outbox;
  readonly #events: TransportEvents;
  /** Bytes come and go. */
  #open = true;
  /** By us: the neighbour wants to hear no more. */
  #closed = false;
  /** Reading waits for its turn. */
  #waiting = false;

  /** @param fd A socket from `openDialSocket` or `acceptNext`; it belongs to the transport from now on. */
  constructor(fd: number, turns: Turns, events: TransportEvents) {
    this.#fd = fd;
    this.#turns = turns;
    this.#events = events;
    // `onread` and `manualStart` are options of net.Socket that its documentation gives to connect() only.
    const options = {
      fd,
      manualStart: true,
      onread: { buffer: READ_BUFFER, callback: (length: number) => this.#read(length) },
    };
    this.#socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
    this.#outbox = new Outbox(
      (chunks, done) => this.#write(chunks, done),
      () => this.#open && events.sent(),
      () => this.#open && events.room(),
    );
    this.#socket.on('connect', () => this.#open && events.connected());
    this.#socket.on('end', () => this.#lost('closed by the peer'));
    this.#socket.on('error', (error) => this.#lost('code' in error ? String(error.code) : messageOf(error)));
    this.#socket.on('close', () => this.#lost('closed'));
  }

  dial(peer: Endpoint, device: string | undefined): void {
    const zone = device === undefined ? '' : `%${device}`;
    const host = `${formatIP(peer.address)}${isLinkLocal(peer.address) ? zone : ''}`;
    this.#socket.connect({ host, port: peer.port });
  }

  /** Begins to read on an accepted connection. */
  start(): void {
    this.#socket.resume();
  }

  /** Our own address on this connection. @throws {SystemError} If it is gone. */
  get localAddress(): IP {
    return localAddressOf(this.#fd).address;
  }

  /** The ports of both ends; 0 where the connection is gone. */
  get ports(): { readonly localPort: number; readonly remotePort: number } {
    const { localPort = 0, remotePort = 0 } = this.#socket;
    return { localPort, remotePort };
  }

  /** Bytes that the kernel has not taken yet. */
  get backlog(): number {
    return this.#outbox.backlog;
  }

  /** Whether the peer has said something that we have not looked at yet. */
  get unread(): boolean {
    return this.#waiting;
  }

  set maxMessageSize(size: number) {
    this.#reader.maxLength = size;
  }

  /** Takes whole messages that never change; `false` says full. */
  write(messages: Uint8Array): boolean {
    return this.#open ? this.#outbox.push(messages) : true;
  }

  /** Sends a message before all that wait. */
  writeUrgent(message: Uint8Array): void {
    if (this.#open) this.#outbox.pushUrgent(message);
  }

  /** @throws {SystemError} */
  setKey(peers: Prefix, password: string | undefined): void {
    if (this.#open) setKey(this.#fd, peers, password);
  }

  /** `flush` lets out what is being written; `abort` resets. No event follows. */
  close(how: 'flush' | 'abort'): void {
    this.#closed = true;
    if (!this.#open) return;
    this.#open = false;
    if (how === 'abort' || this.#socket.connecting) {
      this.#socket.destroy();
      return;
    }
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), FLUSH_TIME);
    this.#socket.once('close', () => clearTimeout(timer));
    // The peer's last words are of no interest, but unread bytes would turn our FIN into a reset.
    this.#socket.resume();
  }

  /** @returns Whether to go on reading. */
  #read(length: number): boolean {
    if (!this.#open) return true;
    this.#reader.take(READ_BUFFER.subarray(0, length));
    const finished = this.#work();
    this.#reader.settle();
    return finished;
  }

  /** Hands messages over as long as the turn lasts. @returns Whether all whole ones have been. */
  #work(): boolean {
    try {
      while (this.#open) {
        if (this.#reader.waiting && this.#turns.over) {
          this.#postpone();
          return false;
        }
        if (!this.#reader.next((message, type) => this.#events.message(message, type))) break;
      }
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.#events.broken(error);
    }
    if (this.#open) this.#events.settled();
    return true;
  }

  #postpone(): void {
    this.#waiting = true;
    this.#turns.later(() => {
      this.#waiting = false;
      if (!this.#open || !this.#work()) return;
      this.#reader.settle();
      this.#socket.resume();
    });
  }

  #write(chunks: readonly Uint8Array[], done: () => void): void {
    const rest = this.#sendNow(chunks);
    if (rest.length === 0) done();
    else this.#stream(rest, done);
  }

  /**
   * Past the stream, which takes five times as long as the kernel: a withdrawal to a thousand peers is a thousand writes.
   * Answers what the kernel would not take.
   */
  #sendNow(chunks: readonly Uint8Array[]): readonly Uint8Array[] {
    // Once the stream is destroyed the descriptor may be somebody else's.
    if (this.#socket.destroyed || this.#socket.connecting || this.#socket.writableLength > 0) return chunks;
    for (const [index, chunk] of chunks.entries()) {
      const sent = sendNow(this.#fd, chunk);
      if (sent < chunk.length) return [chunk.subarray(sent), ...chunks.slice(index + 1)];
    }
    return [];
  }

  #stream(chunks: readonly Uint8Array[], done: () => void): void {
    const last = chunks.length - 1;
    this.#socket.cork();
    chunks.forEach((chunk, index) => {
      if (index < last) this.#socket.write(chunk);
      else this.#socket.write(chunk, (error) => !error && done());
    });
    this.#socket.uncork();
  }

  /** Thousands of peers may go in the same moment: their routes go in turns like messages. */
  #lost(reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#socket.destroy();
    const tell = () => !this.#closed && this.#events.closed(reason);
    if (this.#turns.over) this.#turns.later(tell);
    else tell();
  }
}

/** Closes an accepted connection that nobody wants. */
export function discard(fd: number): void {
  closeSync(fd);
}
