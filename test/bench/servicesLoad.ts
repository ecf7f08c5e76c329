import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { TestNamespace } from '../kernel/namespaces.ts';
import type { Sample } from './sample.ts';

/** What pods listen on. */
export const SERVER_PORT = 8080;

const CLIENT_CPU = '0';
const SERVER_CPU = '1';
const CONNECTIONS = 8;
const SERVER_START_ATTEMPTS = 100;

/**
 * A second of short connections leaves more of them in TIME-WAIT than there are ports, and connect() then searches through
 * all of them, at ten times the cost of a request: by turns, whatever the way. So neither side keeps any.
 */
const FORGET = 'echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets';

/** Connections of either kind: one for all requests, or one for each. */
export type Kind = 'long' | 'short';

export interface Load {
  readonly client: TestNamespace;
  readonly server: Server;
  readonly address: string;
  readonly port: number;
  readonly kind: Kind;
  /** The cgroup v2 directory wrk runs in; that of this process where absent. */
  readonly cgroup?: string | undefined;
  /**
   * From which third of the client's ports it connects: 0, 1, 2. NAT tables remember closed connections for a minute: what is
   * measured by one way must not meet what another has left there.
   */
  readonly portRange: number;
}

export interface Server {
  readonly pid: number;
}

/** nginx with one worker and an answer from memory, until its namespace is removed. */
export async function serve(pod: TestNamespace, directory: string): Promise<Server> {
  const home = join(directory, pod.name);
  mkdirSync(home, { recursive: true });
  const file = join(home, 'nginx.conf');
  writeFileSync(
    file,
    `daemon off;
master_process off;
user root;
pid ${home}/pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path ${home};
  proxy_temp_path ${home};
  fastcgi_temp_path ${home};
  uwsgi_temp_path ${home};
  scgi_temp_path ${home};
  server { listen ${SERVER_PORT} backlog=4096; location / { return 200 "tombolo"; } }
}
`,
  );
  pod.run('bash', '-c', FORGET);
  const words = ['-c', SERVER_CPU, 'nginx', '-p', home, '-c', file];
  const { pid = 0 } = pod.start('taskset', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  for (let attempt = 0; attempt < SERVER_START_ATTEMPTS; attempt++) {
    if (pod.attempt('curl', '-sf', '--max-time', '1', `http://127.0.0.1:${SERVER_PORT}/`).status === 0)
      return { pid };
    await setTimeout(50);
  }
  throw new Error(`Cannot measure: nginx in ${pod.name} does not answer`);
}

/**
 * Requests that wrk gets answered per second, and those that a second of CPU time of client and server is enough for, the
 * kernel's work for them included (in a pair of namespaces packets are delivered by whoever sends them).
 *
 * @throws {Error} If a single request fails.
 */
export async function measure(load: Load, seconds = 1): Promise<Sample> {
  const { client, server, address, port, kind, cgroup, portRange } = load;
  const first = 16384 * (portRange + 1);
  const enter = cgroup === undefined ? '' : `echo $$ >${cgroup}/cgroup.procs; `;
  const ports = `echo ${first} ${first + 16383} >/proc/sys/net/ipv4/ip_local_port_range`;
  const script = `${FORGET}; ${ports}; ${enter}TIMEFORMAT='CPU seconds: %3U %3S'; time "$@"`;
  const wrk = ['wrk', '-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--timeout', '1s'];
  const header = kind === 'short' ? ['-H', 'Connection: close'] : [];
  const words = ['taskset', '-c', CLIENT_CPU, ...wrk, ...header, `http://${address}:${port}/`];
  const before = cpuSecondsOf(server.pid);
  const child = client.start('bash', ['-c', script, 'bash', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = await outputOf(child);
  const serverSeconds = cpuSecondsOf(server.pid) - before;
  const requests = Number(/^ +(\d+) requests in /m.exec(output)?.[1]);
  const rate = Number(/^Requests\/sec: +([\d.]+)$/m.exec(output)?.[1]);
  const [, user, system] = /^CPU seconds: ([\d.]+) ([\d.]+)$/m.exec(output) ?? [];
  const perCpuSecond = requests / (serverSeconds + Number(user) + Number(system));
  if (!(rate > 0 && perCpuSecond > 0) || /Socket errors|Non-2xx/.test(output)) {
    throw new Error(`Cannot measure http://${address}:${port}/ from ${client.name}: ${output}`);
  }
  return { rate, perCpuSecond };
}

/** What a process with a single thread has run for (proc_pid_schedstat(5)). */
function cpuSecondsOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e9;
}

async function outputOf(child: ChildProcess): Promise<string> {
  const parts: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => parts.push(text));
  }
  await once(child, 'close');
  return parts.join('');
}
