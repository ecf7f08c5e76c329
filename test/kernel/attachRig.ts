import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseIP } from '../../src/address/ip.ts';
import { parseInterfaceAddress, parsePrefix } from '../../src/address/prefix.ts';
import { type AttachHooks, attach } from '../../src/attach/attach.ts';
import {
  type Attached,
  type AttachmentKind,
  type AttachmentSpec,
  attachmentId,
} from '../../src/attach/attachment.ts';
import { check } from '../../src/attach/check.ts';
import { detach } from '../../src/attach/detach.ts';
import { noPrograms } from '../../src/attach/podPrograms.ts';
import { type AttachmentRecord, RecordStore } from '../../src/attach/record.ts';
import type { StepObserver } from '../../src/attach/steps.ts';
import { createLog } from '../../src/log.ts';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';

/** A node with an uplink to a fabric (10.0.0.1 and fd00::1 to .254), and what attaching on it takes. */
export class TestNode {
  readonly at: TestNamespace;
  readonly fabric: TestNamespace;
  readonly records: RecordStore;
  readonly stateDir: string;
  /** What was logged, a message each. */
  readonly warnings: string[] = [];
  readonly #namespaces: TestNamespaces;
  readonly #name: string;
  #pods = 0;

  constructor(namespaces: TestNamespaces, name: string, t: { after(run: () => void): void }) {
    this.#namespaces = namespaces;
    this.#name = name;
    this.fabric = namespaces.create(`${name}fabric`);
    this.at = namespaces.create(name);
    this.stateDir = mkdtempSync(join(tmpdir(), 'tbt-attach-'));
    t.after(() => rmSync(this.stateDir, { recursive: true }));
    this.records = new RecordStore(this.stateDir);
    // Link-local addresses that can be used at once; routers ask with them where a neighbour is.
    for (const each of [this.fabric, this.at]) {
      each.run('sh', '-ec', 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad');
    }
    this.fabric.run('sh', '-ec', 'ip link add br0 type bridge; ip link set br0 up');
    this.fabric.run('sh', '-ec', 'ip addr add 10.0.0.254/24 dev br0; ip addr add fd00::fe/64 dev br0 nodad');
    this.plug('uplink');
    this.at.run('sh', '-ec', 'ip addr add 10.0.0.1/24 dev uplink; ip addr add fd00::1/64 dev uplink nodad');
    this.at.run('sh', '-ec', 'ip route add default via 10.0.0.254; ip route add default via fd00::fe');
  }

  /** Gives the node a further device, up and plugged into the fabric. */
  plug(name: string, ...options: string[]): void {
    const end = `to-${name}`;
    this.at.run(
      'ip',
      'link',
      'add',
      name,
      ...options,
      'type',
      'veth',
      'peer',
      'name',
      end,
      'netns',
      this.fabric.name,
    );
    this.fabric.run('ip', 'link', 'set', end, 'master', 'br0', 'up');
    this.at.run('ip', 'link', 'set', name, 'up');
  }

  pod(): TestNamespace {
    return this.#namespaces.create(`${this.#name}pod${++this.#pods}`);
  }

  attach(spec: AttachmentSpec, hooks: Partial<AttachHooks> = {}): Attached {
    const { records } = this;
    return this.at.inside(() => attach(spec, { programs: noPrograms, records, ...hooks }));
  }

  /** Attaches, with the step of that number (from 0) failing; what was thrown. */
  failAt(spec: AttachmentSpec, step: number, hooks: Partial<AttachHooks> = {}): unknown {
    try {
      this.attach(spec, { ...hooks, onStep: failing(step) });
    } catch (error) {
      return error;
    }
    throw new Error(`Cannot fail at step ${step}: there are fewer`);
  }

  /** The names of the steps an attachment takes; it is detached again. */
  async stepsOf(spec: AttachmentSpec): Promise<string[]> {
    const steps: string[] = [];
    this.attach(spec, { onStep: (what) => steps.push(what) });
    await this.detach(spec.id);
    return steps;
  }

  check(id: string): void {
    this.at.inside(() => check(this.record(id), { programs: noPrograms }));
  }

  /** Detaches as DEL does, the record last. */
  async detach(id: string): Promise<void> {
    await this.detachRecord(this.record(id));
    this.records.remove(id);
  }

  async detachRecord(record: AttachmentRecord): Promise<void> {
    const log = createLog((line) => this.warnings.push(JSON.parse(line).message), 'warning');
    const hooks = { programs: noPrograms, records: this.records, log };
    await this.at.inside(() => ({ done: detach(record, hooks) })).done;
  }

  record(id: string): AttachmentRecord {
    const record = this.records.read(id);
    if (record === undefined) throw new Error(`Cannot find record of ${id}`);
    return record;
  }
}

/** A wish for `eth0` with these addresses, each as `10.1.0.2/24` or `10.1.0.2/24 via 10.1.0.1`. */
export function specFor(
  pod: TestNamespace,
  addresses: string[],
  kind: AttachmentKind = { kind: 'veth' },
  more: Partial<AttachmentSpec> = {},
): AttachmentSpec {
  const [containerId, ifName] = [pod.name, 'eth0'];
  return {
    id: attachmentId(containerId, ifName),
    containerId,
    ifName,
    network: 'test',
    netns: pod.path,
    kind,
    mtu: 0,
    addresses: addresses.map((text) => {
      const [address = '', gateway] = text.split(' via ');
      return {
        address: parseInterfaceAddress(address),
        gateway: gateway === undefined ? undefined : parseIP(gateway),
      };
    }),
    routes: [],
    ipam: { kind: 'agent' },
    cniVersion: '1.1.0',
    ...more,
  };
}

export function route(prefix: string, via?: string): AttachmentSpec['routes'][number] {
  return { prefix: parsePrefix(prefix), via: via === undefined ? undefined : parseIP(via) };
}

/**
 * All that iproute2 sees of a namespace, a line each, without what changes by itself: the kernel works off carriers later, and
 * only then come IPv6's local routes and goes `linkdown`.
 */
export function snapshot(at: TestNamespace): string[] {
  return ['-d link', 'addr', 'route show table all', '-6 route show table all', 'neigh show nud permanent']
    .flatMap((words) => at.run('ip', ...words.split(' ')).split('\n'))
    .filter((line) => !/fe80|ff00|anycast|^local \S*:\S* .*proto kernel/.test(line))
    .map((line) =>
      line
        .replace(/(valid_lft|preferred_lft|qdisc|state|expires) \S+|tentative|linkdown|NO-CARRIER,/g, '')
        .replace(/ +/g, ' ')
        .trim(),
    )
    .filter((line) => line !== '')
    .sort();
}

function failing(step: number): StepObserver {
  let count = 0;
  return (what) => {
    if (count++ === step) throw new Error(`injected before ${what}`);
  };
}
