import type { IP } from '../../address/ip.ts';
import type { Log } from '../../log.ts';
import { type Monitor, monitor } from '../../netlink/monitor.ts';
import { type Netlink, openNetlink } from '../../netlink/socket.ts';
import type { KernelConfig, RouterConfig } from '../config/router.ts';
import type { Admission } from '../fib/admission.ts';
import { Fib } from '../fib/fib.ts';
import type { Clock, Rib } from '../rib/rib.ts';
import { type AfiSafi, IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';

/** The way from the RIB into the routing table of this thread's network namespace. */
export class KernelRoutes {
  readonly fib: Fib;
  /** Families that were forwarded by routes of ours when we started: known before any socket of a session opens. */
  readonly preserved: ReadonlySet<AfiSafi>;
  readonly #netlink: Netlink;
  readonly #monitor: Monitor;
  readonly #unwatch: (() => void)[];

  /** @throws {SystemError} If the kernel refuses a netlink socket. */
  constructor(config: RouterConfig, kernel: KernelConfig, rib: Rib, clock: Clock, log: Log) {
    this.#netlink = openNetlink();
    // Subscribed before the kernel is asked for everything, so that nothing falls between.
    this.#monitor = monitor(['link', 'address', 'route'], (event) => this.fib.observe(event));
    this.fib = new Fib(this.#netlink, clock, log.part('fib'), admission(config, kernel));
    this.fib.setSegments(kernel.segments);
    const families = { 4: IPV4_UNICAST, 6: IPV6_UNICAST };
    this.preserved = new Set([...this.fib.preserved].map((family) => families[family]));
    this.#unwatch = Object.values(families).map((family) =>
      rib.watch(family, (prefix, route) => this.fib.choose(prefix, route)),
    );
  }

  configure(config: RouterConfig, kernel: KernelConfig): void {
    this.fib.admit(admission(config, kernel));
    this.fib.setSegments(kernel.segments);
  }

  /** Stops; the kernel keeps forwarding by what it has. With `clear` it forgets what we told it. */
  close(clear: boolean): void {
    for (const stop of this.#unwatch) stop();
    if (clear) this.fib.clear();
    this.fib.close();
    this.#monitor.close();
    this.#netlink.close();
  }
}

function admission({ neighbours }: RouterConfig, kernel: KernelConfig): Admission {
  const guarded: IP[] = [...kernel.guarded, ...neighbours.map(({ address }) => address)];
  return {
    ranges: kernel.ranges,
    defaultRoute: kernel.defaultRoute,
    ownSegments: kernel.segments,
    guarded,
  };
}
