/**
 * A laboratory of routers: a network namespace each, joined by a bridge or by veth pairs, with FRR, BIRD, GoBGP
 * or Tombolo in them. Daemons run in the foreground out of private directories and are ended by their process,
 * so nothing outside the lab is touched and nothing is left, also after a failure.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { type Daemon, Router } from './router.ts';

/** Routers in network namespaces, and everything in them. */
export class Lab {
  readonly #namespaces: TestNamespaces;
  readonly #directory: string;
  readonly #daemons = new Set<Daemon>();
  readonly #routers: Router[] = [];
  #switch: TestNamespace | undefined;
  #links = 0;

  /**
   * @param prefix Letters only, the test file's own.
   * @param namespaces Where there are others beside the routers; gone with the lab, too.
   */
  constructor(prefix: string, namespaces = new TestNamespaces(prefix)) {
    this.#namespaces = namespaces;
    // zebra is an ordinary user once it runs: it must get at what it is given, whatever the umask and TMPDIR of who tests.
    process.umask(0o022);
    this.#directory = mkdtempSync(`/run/tombolo-${prefix}-`);
    chmodSync(this.#directory, 0o755);
    process.on('exit', () => rmSync(this.#directory, { recursive: true, force: true }));
  }

  /** A router on the lab's common LAN: `10.99.0.<number>/24` and `2001:db8:99::<number>/64` on `eth0`. */
  router(name: string, number: number): Router {
    const router = this.island(name);
    this.#switch ??= this.#makeSwitch();
    const port = `p${number}`;
    router.namespace.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port);
    router.namespace.run('ip', 'link', 'set', port, 'netns', this.#switch.name);
    this.#switch.run('ip', 'link', 'set', port, 'master', 'lan', 'up');
    router.configure('eth0', `10.99.0.${number}/24`, `2001:db8:99::${number}/64`);
    return Object.assign(router, { ipv4: `10.99.0.${number}`, ipv6: `2001:db8:99::${number}` });
  }

  /** A router without any link. */
  island(name: string): Router {
    const directory = join(this.#directory, name);
    mkdirSync(directory);
    // zebra drops its privileges before it makes its sockets.
    chmodSync(directory, 0o777);
    const router = new Router(name, this.#namespaces.create(name), directory, (daemon) =>
      this.#daemons.add(daemon),
    );
    this.#routers.push(router);
    return router;
  }

  /** Joins two routers by a veth pair; each end gets the addresses given, and is up. */
  link(a: Router, addressesA: string[], b: Router, addressesB: string[]): [string, string] {
    const [ends, number] = [[`l${this.#links}a`, `l${this.#links}b`] as [string, string], this.#links++];
    a.namespace.run('ip', 'link', 'add', ends[0], 'type', 'veth', 'peer', 'name', `x${number}`);
    a.namespace.run('ip', 'link', 'set', `x${number}`, 'netns', b.namespace.name);
    b.namespace.run('ip', 'link', 'set', `x${number}`, 'name', ends[1]);
    a.configure(ends[0], ...addressesA);
    b.configure(ends[1], ...addressesB);
    return ends;
  }

  /** Ends the daemons, hardest first, and keeps the routers for the next scenario. */
  async reset(): Promise<void> {
    await Promise.all([...this.#daemons].map((daemon) => daemon.kill()));
    this.#daemons.clear();
    for (const { namespace } of this.#routers) {
      namespace.attempt('ip', 'route', 'flush', 'proto', 'bgp');
      namespace.attempt('ip', 'route', 'flush', 'proto', 'bird');
    }
  }

  async close(): Promise<void> {
    await this.reset();
    this.#namespaces.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #makeSwitch(): TestNamespace {
    const namespace = this.#namespaces.create('switch');
    namespace.run('ip', 'link', 'add', 'lan', 'type', 'bridge');
    namespace.run('ip', 'link', 'set', 'lan', 'up');
    return namespace;
  }
}
