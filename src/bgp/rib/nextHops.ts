import { formatIP, type IP, ipFromBytes } from '../../address/ip.ts';

/** What stands for an address that no route leads to. */
export const UNREACHABLE = 0xffffffff;

interface NextHop {
  readonly id: number;
  readonly key: string;
  /** The address that packets go to: the global one of two, without route distinguisher; 0.0.0.0 for none. */
  readonly address: IP;
  holders: number;
}

/** The next hops in use, by number, and how far away each is. */
export class NextHops {
  readonly #byKey = new Map<string, NextHop>();
  readonly #byId: (NextHop | undefined)[] = [undefined];
  readonly #free: number[] = [];
  /** What was said about addresses, whether routes use them yet or not. */
  readonly #metrics = new Map<IP, number>();
  /** IGP metric by number, {@link UNREACHABLE} included. */
  readonly metric: number[] = [0];

  retain(bytes: Uint8Array, start: number, length: number): number {
    const key = Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('latin1');
    const known = this.#byKey.get(key);
    if (known) {
      known.holders++;
      return known.id;
    }
    const id = this.#free.pop() ?? this.#byId.length;
    const address = addressOf(bytes.subarray(start, start + length));
    const nextHop = { id, key, address, holders: 1 };
    this.#byKey.set(key, nextHop);
    this.#byId[id] = nextHop;
    this.metric[id] = this.#metrics.get(address) ?? 0;
    return id;
  }

  release(id: number): void {
    const nextHop = this.#byId[id];
    if (nextHop === undefined || --nextHop.holders > 0) return;
    this.#byKey.delete(nextHop.key);
    this.#byId[id] = undefined;
    this.#free.push(id);
  }

  address(id: number): IP {
    const nextHop = this.#byId[id];
    if (nextHop === undefined) throw new RangeError(`Cannot find next hop: unknown number (value ${id})`);
    return nextHop.address;
  }

  /** Whether any route uses `address`, and so is to be looked at again. */
  setMetric(address: IP, metric: number): boolean {
    if ((this.#metrics.get(address) ?? 0) === metric) return false;
    if (metric === 0) this.#metrics.delete(address);
    else this.#metrics.set(address, metric);
    let used = false;
    for (const nextHop of this.#byKey.values()) {
      if (nextHop.address !== address) continue;
      this.metric[nextHop.id] = metric;
      used = true;
    }
    return used;
  }

  format(id: number): string {
    return formatIP(this.address(id));
  }
}

/**
 * RFC 4760 §5.1.3, RFC 2545 §3 (global and link-local; who has no global address writes the link-local one twice, or `::`
 * first), RFC 4364 §4.3.4 and RFC 4659 §3.2 (behind a zero RD).
 */
function addressOf(bytes: Uint8Array): IP {
  switch (bytes.length) {
    case 4:
    case 16:
      return ipFromBytes(bytes);
    case 32:
      return ipFromBytes(bytes.subarray(0, 16)) || ipFromBytes(bytes.subarray(16));
    case 12:
      return ipFromBytes(bytes.subarray(8));
    case 24:
    case 48:
      return ipFromBytes(bytes.subarray(8, 24));
    default:
      return 0 as IP;
  }
}
