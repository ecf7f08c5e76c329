import { bytesOf } from '../../address/ip.ts';
import { FullError } from './full.ts';
import type { RibPeer } from './peer.ts';

/** The number of the node's own routes' peer. */
export const LOCAL = 0;

const PEER_LIMIT = 0xffff;

/** Numbers for peers, so that a path names its peer in two bytes; a number lasts as long as the peer has paths. */
export class Peers {
  readonly #peers: (RibPeer | undefined)[] = [undefined];
  readonly #byName = new Map<string, number>();
  readonly #free: number[] = [];
  /** Order of addresses, family first, as one number per peer; equal only for equal ones. */
  #ranks: number[] | undefined;

  /** The number of a peer, which from now on is the one given. */
  set(peer: RibPeer): number {
    const number = this.#byName.get(peer.name) ?? this.#free.pop() ?? this.#peers.length;
    if (number >= PEER_LIMIT) {
      throw new FullError(`Cannot add peer ${peer.name}: there are too many (value ${PEER_LIMIT})`);
    }
    this.#byName.set(peer.name, number);
    this.#peers[number] = peer;
    this.#ranks = undefined;
    return number;
  }

  remove(number: number): void {
    const peer = this.#peers[number];
    if (peer === undefined) return;
    this.#byName.delete(peer.name);
    this.#peers[number] = undefined;
    this.#free.push(number);
    this.#ranks = undefined;
  }

  get(number: number): RibPeer | undefined {
    return this.#peers[number];
  }

  numberOf(name: string): number | undefined {
    return this.#byName.get(name);
  }

  /** Whether routes of this peer count as interior; the node's own do not. */
  isInternal(number: number): boolean {
    return this.#peers[number]?.type === 'ibgp';
  }

  identifier(number: number): number {
    return this.#peers[number]?.identifier ?? 0;
  }

  rank(number: number): number {
    this.#ranks ??= this.#rank();
    return this.#ranks[number] ?? 0;
  }

  #rank(): number[] {
    const ranks: number[] = [];
    const order = this.#peers
      .map((peer, number) => ({ number, key: peer ? bytesOf(peer.address) : Buffer.alloc(0) }))
      .sort((a, b) => a.key.length - b.key.length || Buffer.compare(a.key, b.key));
    for (const [rank, { number }] of order.entries()) ranks[number] = rank;
    return ranks;
  }
}
