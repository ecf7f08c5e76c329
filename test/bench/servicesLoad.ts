import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import type { TestNamespace } from '../kernel/namespaces.ts';
import type { Machine } from './machine.ts';
import { inTurns } from './ratio.ts';
import type { Sample, Samples } from './sample.ts';

/** What pods listen on. */
export const SERVER_PORT = 8080;

const CLIENT_CPU = '0';
const SERVER_CPU = '1';
const CONNECTIONS = 8;
const START_ATTEMPTS = 250;
/** Long beside what is in flight at its end, a request for each connection. */
const SLICE_MS = 100;
const SLICES_PER_ROUND = 10;
/** Until the server has answered what was in flight. */
const SETTLE_MS = 2;

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
  /** How many it has been asked so far, this question among them. */
  requests(): Promise<number>;
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
  server { listen unix:${home}/status; location / { stub_status; } }
}
`,
  );
  pod.run('bash', '-c', FORGET);
  const words = ['-c', SERVER_CPU, 'nginx', '-p', home, '-c', file];
  const { pid = 0 } = pod.start('taskset', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
    if (pod.attempt('curl', '-sf', '--max-time', '1', `http://127.0.0.1:${SERVER_PORT}/`).status === 0)
      return { pid, requests: () => requestsOf(`${home}/status`) };
    await setTimeout(50);
  }
  throw new Error(`Cannot measure: nginx in ${pod.name} does not answer`);
}

/** The third figure below “server accepts handled requests” (ngx_http_stub_status_module). */
async function requestsOf(socketPath: string): Promise<number> {
  const [response]: [IncomingMessage] = (await once(
    get({ socketPath, path: '/', agent: false }),
    'response',
  )) as [IncomingMessage];
  const body = await text(response);
  return Number(/requests\s+\d+ \d+ (\d+)/.exec(body)?.[1]);
}

/** wrk and the server it asks, halted whenever it is not its turn. */
class Stream {
  readonly #load: Load;
  readonly #wrk: ChildProcess;
  readonly #output: Promise<string>;

  constructor(load: Load) {
    const { client, address, port, kind, cgroup } = load;
    const enter = cgroup === undefined ? '' : `echo $$ >${cgroup}/cgroup.procs; `;
    const header = kind === 'short' ? ['-H', 'Connection: close'] : [];
    const wrk = ['wrk', '-t1', `-c${CONNECTIONS}`, '-d1h', '--timeout', '1m', ...header];
    const words = ['taskset', '-c', CLIENT_CPU, ...wrk, `http://${address}:${port}/`];
    client.run('bash', '-c', FORGET);
    this.#load = load;
    this.#wrk = client.start('bash', ['-c', `${enter}exec "$@"`, 'bash', ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#output = outputOf(this.#wrk);
  }

  /** Lets it open its connections, and halts it once it is answered. */
  async begin(): Promise<void> {
    this.#bindPorts();
    const { server } = this.#load;
    let asked = await server.requests();
    for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
      await setTimeout(20);
      const before = asked;
      asked = await server.requests();
      if (asked === before + 1) continue;
      this.#wrk.kill('SIGSTOP');
      return;
    }
    throw this.#error('nothing is answered');
  }

  /** Lets it run for a while. */
  async slice(): Promise<Slice> {
    const { server } = this.#load;
    this.#bindPorts();
    const [requests, seconds] = [await server.requests(), this.#cpuSeconds()];
    const began = performance.now();
    this.#wrk.kill('SIGCONT');
    await setTimeout(SLICE_MS);
    this.#wrk.kill('SIGSTOP');
    const ended = performance.now();
    await setTimeout(SETTLE_MS);
    const cpuSeconds = this.#cpuSeconds() - seconds;
    // The question itself counts as well.
    const answered = (await server.requests()) - requests - 1;
    if (!(answered > 0)) throw this.#error('nothing is answered');
    return { requests: answered, seconds: (ended - began) / 1000, cpuSeconds };
  }

  /** Hears what it has to say. @throws {Error} If a request failed. */
  async end(): Promise<void> {
    this.#bindPorts();
    this.#wrk.kill('SIGCONT');
    // Either thread may be the one to hear of it, and only the main one's waiting ends by it.
    const insist = setInterval(() => this.#wrk.kill('SIGINT'), 10 * SETTLE_MS);
    const output = await this.#output;
    clearInterval(insist);
    if (!/ requests in /.test(output) || /Socket errors|Non-2xx/.test(output)) throw this.#error(output);
  }

  #bindPorts(): void {
    const first = 16384 * (this.#load.portRange + 1);
    this.#load.client.inside(() =>
      writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', `${first} ${first + 16383}`),
    );
  }

  #cpuSeconds(): number {
    return cpuSecondsOf(this.#load.server.pid) + cpuSecondsOf(this.#wrk.pid ?? 0);
  }

  #error(why: string): Error {
    const { client, address, port } = this.#load;
    return new Error(`Cannot measure http://${address}:${port}/ from ${client.name}: ${why}`);
  }
}

interface Slice {
  readonly requests: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/**
 * Requests that wrk gets answered per second, and those that a second of CPU time of client and server is enough for, the
 * kernel's work for them included (in a pair of namespaces packets are delivered by whoever sends them).
 *
 * All loads are there all the time, and one of them runs: their slices are so short that whatever makes the machine slower
 * or faster meets all of them alike. A round is a second of each, by connections and a wrk of its own: how these happen to
 * fall in with each other stays as it is for as long as they live.
 *
 * @throws {Error} If a single request fails.
 */
export async function measureInSlices(
  loads: ReadonlyMap<string, Load>,
  rounds: number,
  machine: Machine,
): Promise<Samples> {
  const samples = new Map([...loads.keys()].map((name) => [name, [] as Sample[]]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, slices] of await oneRound(loads, machine)) samples.get(name)?.push(sampleOf(slices));
  }
  return samples;
}

async function oneRound(loads: ReadonlyMap<string, Load>, machine: Machine): Promise<Map<string, Slice[]>> {
  const streams: { readonly name: string; readonly stream: Stream }[] = [];
  for (const [name, load] of loads) {
    const stream = new Stream(load);
    streams.push({ name, stream });
    await stream.begin();
  }
  const contenders = streams.map(({ name, stream }) => ({ name, run: () => stream.slice() }));
  const slices = await inTurns(contenders, SLICES_PER_ROUND, machine);
  for (const { stream } of streams) await stream.end();
  return slices;
}

function sampleOf(slices: readonly Slice[]): Sample {
  const sum = (what: keyof Slice) => slices.reduce((total, slice) => total + slice[what], 0);
  return { rate: sum('requests') / sum('seconds'), perCpuSecond: sum('requests') / sum('cpuSeconds') };
}

/** What the threads of a process have run for (proc_pid_schedstat(5)). */
function cpuSecondsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map(
      (thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e9,
    )
    .reduce((sum, each) => sum + each, 0);
}

async function outputOf(child: ChildProcess): Promise<string> {
  const parts: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => parts.push(text));
  }
  await once(child, 'close');
  return parts.join('');
}
