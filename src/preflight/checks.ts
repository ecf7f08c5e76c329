import { formatIP } from '../address/ip.ts';
import type { Facts } from './facts.ts';

/** `fail`: Tombolo will not work here. `warn`: it will, and somebody will be surprised one day. */
export type Verdict =
  | { readonly status: 'ok'; readonly found: string }
  | { readonly status: 'warn' | 'fail'; readonly found: string; readonly mend: string };

export interface Check {
  /** What is looked at, in two or three words. */
  readonly name: string;
  /** Why it matters, one sentence. */
  readonly why: string;
  judge(facts: Facts): Verdict;
}

export interface Finding {
  readonly name: string;
  readonly why: string;
  readonly verdict: Verdict;
}

/** The oldest kernel Tombolo runs on: `bpf_redirect_neigh` and cgroup links with update are there from 5.10 on. */
const OLDEST_KERNEL = [5, 10] as const;

/** Kernels from here on have TCX links, which a pod cannot take off its own NIC. */
const TCX_KERNEL = [6, 6] as const;

/** Bytes that the maps of a default configuration and the agent may need. */
const COMFORTABLE_MEMORY = 512 * 1024 * 1024;

/** A node next to more than this many others may meet the default neighbour table's limit of 1024. */
const NEIGHBOUR_RESERVE = 0.5;

export const CHECKS: readonly Check[] = [
  {
    name: 'root',
    why: 'Namespaces, netlink and eBPF are for root alone',
    judge: ({ root }) => (root ? ok('root') : fail('an ordinary user', 'run it as root')),
  },
  {
    name: 'kernel',
    why: 'The datapath needs eBPF as of Linux 5.10',
    judge: ({ kernel }) => {
      if (!atLeast(kernel, OLDEST_KERNEL))
        return fail(kernel, `install Linux ${OLDEST_KERNEL.join('.')} or newer`);
      if (atLeast(kernel, TCX_KERNEL)) return ok(kernel);
      return warn(
        kernel,
        `from Linux ${TCX_KERNEL.join('.')} on, programs on a NIC pod's device cannot be removed by the pod`,
      );
    },
  },
  {
    name: 'architecture',
    why: 'The native parts are built for x64 and arm64',
    judge: ({ arch }) =>
      arch === 'x64' || arch === 'arm64' ? ok(arch) : fail(arch, 'use a node with an x64 or arm64 processor'),
  },
  {
    name: 'Node.js',
    why: 'Agent and plugin are JavaScript',
    judge: ({ node }) =>
      atLeast(node.slice(1), [20, 9]) ? ok(node) : fail(node, 'install Node.js 20.9 or newer'),
  },
  {
    name: 'libbpf',
    why: 'The agent loads the programs through it',
    judge: ({ libbpf }) =>
      libbpf
        ? ok(libbpf)
        : fail('libbpf.so.1 is not installed', 'apt-get install libbpf1 (other distributions: libbpf)'),
  },
  {
    name: 'bpffs',
    why: 'Pinned programs and maps outlive the agent there',
    judge: ({ mounts }) =>
      mounts.get('bpf')?.includes('/sys/fs/bpf')
        ? ok('/sys/fs/bpf')
        : fail('not mounted', 'mount -t bpf bpf /sys/fs/bpf, and add it to /etc/fstab'),
  },
  {
    name: 'cgroup 2',
    why: 'Translation at the socket attaches to it',
    judge: ({ mounts }) => {
      const at = mounts.get('cgroup2')?.[0];
      return at
        ? ok(at)
        : warn('not mounted', 'mount -t cgroup2 none /sys/fs/cgroup/unified, or set services: packet');
    },
  },
  {
    name: 'JIT',
    why: 'Interpreted programs are several times slower',
    judge: ({ sysctls }) => {
      const value = sysctls.get('net/core/bpf_jit_enable');
      return value === '0' ? warn('off', 'sysctl -w net.core.bpf_jit_enable=1') : ok(value ?? 'always on');
    },
  },
  {
    name: 'unprivileged eBPF',
    why: 'Programs of ordinary users are a way to read kernel memory',
    judge: ({ sysctls }) =>
      sysctls.get('kernel/unprivileged_bpf_disabled') === '0'
        ? warn('allowed', 'sysctl -w kernel.unprivileged_bpf_disabled=2')
        : ok('refused'),
  },
  {
    name: 'agent configuration',
    why: 'The agent starts only with one that it understands, and what nodeIP says is the address of node ports, hidden pods, tunnels and BGP sessions',
    judge: ({ configuration, ownAddresses }) => {
      if (configuration === undefined) return ok('none: all defaults');
      const { file, problem, nodeIP } = configuration;
      if (problem !== undefined) return fail(problem, `correct ${file}`);
      const missing = nodeIP.filter((address) => !ownAddresses.has(address)).map(formatIP);
      return missing.length === 0
        ? ok(file)
        : warn(
            `no device that is up has ${missing.join(', ')}`,
            `correct nodeIP in ${file}, or leave it as it is if VRRP or DHCP is to give it yet`,
          );
    },
  },
  {
    name: 'forwarding',
    why: 'The node forwards for its pods; the agent switches it on, other tools may switch it off again',
    judge: ({ sysctls }) => {
      const off = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'].filter(
        (name) => sysctls.get(name) === '0',
      );
      return off.length === 0
        ? ok('on')
        : warn(
            `off: ${off.join(', ')}`,
            off.map((name) => `sysctl -w ${name.replaceAll('/', '.')}=1`).join('; '),
          );
    },
  },
  {
    name: 'reverse path filter',
    why: 'Strict mode drops packets that leave by another way than they came, as clients outside do that other nodes hand over',
    judge: ({ sysctls }) =>
      sysctls.get('net/ipv4/conf/all/rp_filter') === '1'
        ? warn('strict on every interface', 'sysctl -w net.ipv4.conf.all.rp_filter=2')
        : ok('not strict on every interface'),
  },
  {
    name: 'neighbour table',
    why: 'One table of each family serves all namespaces; when it is full, fresh connections fail at random',
    judge: ({ sysctls, neighbours, clusterNodes }) => {
      const tables = ([4, 6] as const).flatMap((family) => {
        const name = `net/ipv${family}/neigh/default/gc_thresh3`;
        const limit = sysctls.get(name);
        const expected = Math.max(neighbours.get(family) ?? 0, clusterNodes ?? 0);
        return limit === undefined ? [] : [{ name, limit: Number(limit), expected }];
      });
      const found = tables.map(({ expected, limit }) => `${expected} of ${limit}`).join(', ');
      const tight = tables.filter(({ expected, limit }) => expected > limit * NEIGHBOUR_RESERVE);
      return tight.length === 0
        ? ok(found)
        : warn(
            found,
            tight
              .map(
                ({ name, expected }) =>
                  `sysctl -w ${name.replaceAll('/', '.')}=${nextPowerOfTwo(expected * 4)}`,
              )
              .join('; '),
          );
    },
  },
  {
    name: 'network namespaces',
    why: 'Every pod takes one',
    judge: ({ sysctls }) => {
      const limit = Number(sysctls.get('user/max_net_namespaces') ?? Number.POSITIVE_INFINITY);
      return limit < 512
        ? warn(`at most ${limit}`, 'sysctl -w user.max_net_namespaces=65536')
        : ok(`at most ${limit}`);
    },
  },
  {
    name: 'memory',
    why: 'Maps are locked into memory when the agent starts',
    judge: ({ memoryBytes }) =>
      memoryBytes < COMFORTABLE_MEMORY
        ? warn(mebibytes(memoryBytes), 'make the maps smaller in the agent configuration')
        : ok(mebibytes(memoryBytes)),
  },
  {
    name: 'other CNI configurations',
    why: 'The container runtime takes the first file by name',
    judge: ({ earlierConflists }) =>
      earlierConflists.length > 0
        ? warn(
            `sorted before ours: ${earlierConflists.join(', ')}`,
            'remove them, or install under an earlier name',
          )
        : ok('none before ours'),
  },
  {
    name: 'plugins',
    why: 'Runtimes have loopback switch on lo, and the network configuration as it is installed has portmap behind Tombolo: where either is missing no pod starts',
    judge: ({ plugins }) => {
      const missing = ['loopback', 'portmap'].filter((name) => !plugins.has(name));
      return missing.length > 0
        ? warn(
            `missing: ${missing.join(', ')}`,
            'apt-get install containernetworking-plugins, and copy them from /usr/lib/cni to where the runtime looks for plugins',
          )
        : ok('loopback, portmap');
    },
  },
  {
    name: 'tools',
    why: 'For looking at a node at three in the morning',
    judge: ({ tools }) => {
      const missing = ['bpftool', 'ip', 'tcpdump'].filter((tool) => !tools.has(tool));
      return missing.length > 0
        ? warn(`missing: ${missing.join(', ')}`, 'apt-get install bpftool iproute2 tcpdump')
        : ok('bpftool, ip, tcpdump');
    },
  },
];

export function judgeAll(facts: Facts, checks: readonly Check[] = CHECKS): Finding[] {
  return checks.map(({ name, why, judge }) => ({ name, why, verdict: judge(facts) }));
}

/** Whether a dotted version such as `6.1.0-18-amd64` is `wanted` or newer. */
export function atLeast(version: string, wanted: readonly [major: number, minor: number]): boolean {
  const [major = 0, minor = 0] = version.split(/[.-]/).map((part) => Number.parseInt(part, 10) || 0);
  return major !== wanted[0] ? major > wanted[0] : minor >= wanted[1];
}

function ok(found: string): Verdict {
  return { status: 'ok', found };
}

function warn(found: string, mend: string): Verdict {
  return { status: 'warn', found, mend };
}

function fail(found: string, mend: string): Verdict {
  return { status: 'fail', found, mend };
}

function nextPowerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(value, 1024)));
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}
