/** What the kernel is given at a time, in bytes: little enough that a KEEPALIVE does not wait long behind it. */
const IN_FLIGHT = 1 << 16;
/** From here on the RIB is told that the peer is slow, and collects changes instead of messages. */
const FULL = 1 << 18;

/** Where bytes go; `done` is called once the kernel has taken them. */
export type Writable = (chunks: readonly Uint8Array[], done: () => void) => void;

/**
 * The messages that wait for the peer to take them. Bounded: who fills it is told, and told again when there
 * is room. Every chunk is whole messages, so that an urgent one may go between two chunks.
 */
export class Outbox {
  readonly #write: Writable;
  readonly #progress: () => void;
  readonly #room: () => void;
  #urgent: Uint8Array[] = [];
  #queue: Uint8Array[] = [];
  #head = 0;
  #queued = 0;
  #inFlight = 0;
  #full = false;

  /**
   * @param write The socket.
   * @param progress Told whenever the peer's TCP has taken something.
   * @param room Told when a full queue has become half empty.
   */
  constructor(write: Writable, progress: () => void, room: () => void) {
    this.#write = write;
    this.#progress = progress;
    this.#room = room;
  }

  /** Bytes that the kernel has not taken yet. */
  get backlog(): number {
    return this.#queued + this.#inFlight;
  }

  /** Takes whole messages; `false` says that the queue is full, though these were taken. */
  push(messages: Uint8Array): boolean {
    this.#queue.push(messages);
    this.#queued += messages.length;
    this.#pump();
    this.#full ||= this.#queued >= FULL;
    return !this.#full;
  }

  /** A message that overtakes everything that waits: KEEPALIVE and NOTIFICATION. */
  pushUrgent(message: Uint8Array): void {
    this.#urgent.push(message);
    this.#queued += message.length;
    this.#pump(true);
  }

  #pump(urgent = false): void {
    if (this.#inFlight > 0 && !urgent) return;
    const chunks = this.#urgent;
    this.#urgent = [];
    let bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    while (this.#inFlight === 0 && bytes < IN_FLIGHT) {
      const chunk = this.#queue[this.#head];
      if (chunk === undefined) break;
      this.#head++;
      chunks.push(chunk);
      bytes += chunk.length;
    }
    this.#forgetSent();
    if (chunks.length === 0) return;
    this.#queued -= bytes;
    this.#inFlight += bytes;
    this.#write(chunks, () => this.#taken(bytes));
  }

  #taken(bytes: number): void {
    this.#inFlight -= bytes;
    this.#progress();
    this.#pump();
    if (this.#full && this.#queued < FULL / 2) {
      this.#full = false;
      this.#room();
    }
  }

  #forgetSent(): void {
    if (this.#head === this.#queue.length) this.#queue = [];
    else if (this.#head > 1024) this.#queue = this.#queue.slice(this.#head);
    else return;
    this.#head = 0;
  }
}
