import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { networkInterfaces, release, totalmem } from 'node:os';
import { type Family, type IP, parseIP } from '../address/ip.ts';
import { readNeighbourTables } from '../netlink/neighbourTable.ts';

/** What the checks look at, read once. Text is as the kernel writes it; `undefined` means not there. */
export interface Facts {
  /** `uname -r`. */
  readonly kernel: string;
  /** `process.version`. */
  readonly node: string;
  readonly arch: string;
  readonly root: boolean;
  readonly memoryBytes: number;
  /** Mount points by file system type, in the order of /proc/self/mounts. */
  readonly mounts: ReadonlyMap<string, readonly string[]>;
  /** `net/ipv4/ip_forward` → `1`. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Where libbpf's shared object lies. */
  readonly libbpf: string | undefined;
  /** Entries of the kernel's neighbour tables, of all namespaces. */
  readonly neighbours: ReadonlyMap<Family, number>;
  /** Whether the store knows how many nodes this one will have beside it; undefined outside a cluster. */
  readonly clusterNodes: number | undefined;
  /** The agent's configuration, where there is one. */
  readonly configuration: Configuration | undefined;
  /** Addresses of devices that are up. */
  readonly ownAddresses: ReadonlySet<IP>;
  /** Names of other network configurations that sort before ours in the CNI directory. */
  readonly earlierConflists: readonly string[];
  /** Names of the plugins that the container runtime finds. */
  readonly plugins: ReadonlySet<string>;
  /** Programs found on the PATH that people need at three in the morning. */
  readonly tools: ReadonlySet<string>;
}

/** What this agent is told, as far as checks ask for it. */
export interface Configuration {
  readonly file: string;
  /** Why the agent would not start with it. */
  readonly problem: string | undefined;
  readonly nodeIP: readonly IP[];
}

/** Every sysctl a check asks for, below /proc/sys. */
const SYSCTLS = [
  'net/ipv4/ip_forward',
  'net/ipv6/conf/all/forwarding',
  'net/ipv4/conf/all/rp_filter',
  'net/ipv4/neigh/default/gc_thresh3',
  'net/ipv6/neigh/default/gc_thresh3',
  'net/core/bpf_jit_enable',
  'kernel/unprivileged_bpf_disabled',
  'user/max_net_namespaces',
  'fs/inotify/max_user_instances',
] as const;

const LIBRARIES = ['/usr/lib64', '/usr/lib', '/lib64', '/lib', '/usr/local/lib'];
const TOOLS = ['bpftool', 'ip', 'tcpdump'];

/** Reads the facts of this machine; whatever cannot be read is absent. */
export function collectFacts(
  cniConfDir: string,
  cniBinDir: string,
  configuration?: Configuration,
  clusterNodes?: number,
): Facts {
  return {
    kernel: release(),
    node: process.version,
    arch: process.arch,
    root: process.geteuid?.() === 0,
    memoryBytes: totalmem(),
    mounts: readMounts(),
    sysctls: new Map(SYSCTLS.flatMap((name) => pairOf(name, readText(`/proc/sys/${name}`)))),
    libbpf: findLibbpf(),
    neighbours: new Map(readNeighbourTables().map(({ family, entries }) => [family, entries])),
    clusterNodes,
    configuration,
    ownAddresses: new Set(Object.values(networkInterfaces()).flatMap((all = []) => all.map(addressOf))),
    earlierConflists: readNames(cniConfDir).filter(
      (name) => /\.conf(list)?$/.test(name) && name < '10-tombolo',
    ),
    plugins: new Set(readNames(cniBinDir)),
    tools: new Set(TOOLS.filter(onPath)),
  };
}

/** Less the zone that link-local ones may have. */
function addressOf({ address }: { readonly address: string }): IP {
  return parseIP(address.replace(/%.*/, ''));
}

function pairOf(name: string, value: string | undefined): [string, string][] {
  return value === undefined ? [] : [[name, value]];
}

function readMounts(): Map<string, string[]> {
  const mounts = new Map<string, string[]>();
  for (const line of readText('/proc/self/mounts')?.split('\n') ?? []) {
    const [, point, type] = line.split(' ');
    if (point === undefined || type === undefined) continue;
    mounts.set(type, [...(mounts.get(type) ?? []), point]);
  }
  return mounts;
}

function findLibbpf(): string | undefined {
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  return LIBRARIES.flatMap((directory) => [
    `${directory}/${triplet}/libbpf.so.1`,
    `${directory}/libbpf.so.1`,
  ]).find((path) => existsSync(path));
}

function onPath(name: string): boolean {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return directories.some((directory) => {
    try {
      accessSync(`${directory}/${name}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function readNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
