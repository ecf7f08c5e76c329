// `make bench-bgp`: a million routes through a speaker, reflection for a thousand clients and more, and the death of one of them,
// beside FRR, BIRD and GoBGP in the same run.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { loadavg, release } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildSync } from 'esbuild';
import { Bird } from '../interop/bird.ts';
import { Frr } from '../interop/frr.ts';
import { GoBgp } from '../interop/goBgp.ts';
import { Lab } from '../interop/lab.ts';
import type { Daemon, Router } from '../interop/router.ts';
import type { ReflectResult, TableResult, Task } from './bgpLoad.ts';
import { formatSpread, ratios, type Spread, spreadOf } from './ratio.ts';
import { report } from './report.ts';

const TARGET = '10.98.0.1';
const CLIENTS = '10.100.0.0/16';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    prefixes: { type: 'string', default: '1000000' },
    clients: { type: 'string', default: '1000,2500' },
    only: { type: 'string', default: 'tombolo,frr,bird,gobgp' },
  },
});
const rounds = Number(flags.rounds);
const prefixes = Number(flags.prefixes);
const SETS = Math.max(1, Math.round(prefixes / 50));

interface Contender {
  readonly name: string;
  /** GoBGP is so much slower that one round has to do. */
  readonly once?: boolean;
  table(router: Router): Daemon;
  reflector(router: Router): Daemon;
}

const contenders: Contender[] = [
  {
    name: 'tombolo',
    table: (router) =>
      tombolo(
        router,
        `asn: 64512\nrouterId: ${TARGET}\nlisten: ['0.0.0.0']\nneighbours:\n` +
          [1, 2]
            .map(
              (n) =>
                `  - {address: 10.100.0.${n}, asn: ${65000 + n}, passive: true, multihop: 255, families: [ipv4-unicast]}`,
            )
            .join('\n'),
      ),
    reflector: (router) =>
      tombolo(
        router,
        `asn: 64512\nrouterId: ${TARGET}\nlisten: ['0.0.0.0']\nranges:\n` +
          `  - {prefix: ${CLIENTS}, asn: 64512, limit: 10000, reflectorClient: true, families: [ipv4-unicast]}`,
      ),
  },
  {
    name: 'frr',
    table: (router) =>
      new Frr(
        router,
        [
          'router bgp 64512',
          `bgp router-id ${TARGET}`,
          'no bgp ebgp-requires-policy',
          ...[1, 2].flatMap((n) => [
            `neighbor 10.100.0.${n} remote-as ${65000 + n}`,
            `neighbor 10.100.0.${n} ebgp-multihop 255`,
            `neighbor 10.100.0.${n} passive`,
            `neighbor 10.100.0.${n} disable-connected-check`,
          ]),
        ].join('\n'),
      ).daemon,
    reflector: (router) =>
      new Frr(
        router,
        [
          'router bgp 64512',
          `bgp router-id ${TARGET}`,
          'neighbor clients peer-group',
          'neighbor clients remote-as 64512',
          'bgp listen limit 5000',
          `bgp listen range ${CLIENTS} peer-group clients`,
          'address-family ipv4 unicast',
          'neighbor clients route-reflector-client',
        ].join('\n'),
      ).daemon,
  },
  {
    name: 'bird',
    table: (router) =>
      new Bird(
        router,
        `router id ${TARGET};\nprotocol device {}\nprotocol static { ipv4; route ${CLIENTS} via 10.98.0.2; }\n` +
          [1, 2]
            .map(
              (n) =>
                `protocol bgp p${n} { local as 64512; neighbor 10.100.0.${n} as ${65000 + n}; multihop; passive on; ipv4 { import all; export where source = RTS_BGP; }; }`,
            )
            .join('\n'),
      ).daemon,
    reflector: (router) =>
      new Bird(
        router,
        `router id ${TARGET};\nprotocol device {}\nprotocol static { ipv4; route ${CLIENTS} via 10.98.0.2; }\n` +
          `protocol bgp c { local as 64512; neighbor range ${CLIENTS} as 64512; multihop; rr client; passive on; ipv4 { import all; export where source = RTS_BGP; }; }`,
      ).daemon,
  },
  {
    name: 'gobgp',
    once: true,
    table: (router) =>
      new GoBgp(router, gobgp([1, 2].map((n) => gobgpPeer(`10.100.0.${n}`, 65000 + n)))).daemon,
    reflector: (router) =>
      new GoBgp(
        router,
        gobgp([
          '[[peer-groups]]\n[peer-groups.config]\npeer-group-name = "c"\npeer-as = 64512\n' +
            '[peer-groups.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = "10.98.0.1"\n' +
            '[[peer-groups.afi-safis]]\n[peer-groups.afi-safis.config]\nafi-safi-name = "ipv4-unicast"\n' +
            `[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = "${CLIENTS}"\npeer-group = "c"\n`,
        ]),
      ).daemon,
  },
];

function gobgp(parts: readonly string[]): string {
  return `[global.config]\nas = 64512\nrouter-id = "${TARGET}"\n${parts.join('\n')}`;
}

function gobgpPeer(address: string, asn: number): string {
  return (
    `[[neighbors]]\n[neighbors.config]\nneighbor-address = "${address}"\npeer-as = ${asn}\n` +
    '[neighbors.transport.config]\npassive-mode = true\n[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 255\n'
  );
}

function tombolo(router: Router, config: string): Daemon {
  const file = router.file('tombolo.yaml', config);
  const args = ['bgp', 'run', '--config', file, '--socket', join(router.directory, 'tombolo.sock')];
  process.env.LONGEST_TURN = router.file('turn', '0');
  const command = ['--require', watcher(router), resolve('dist/tombolo'), ...args, '--log-level', 'error'];
  return router.start('tombolo', process.execPath, command);
}

/** `longestTurn.ts` in one file: a loader for TypeScript would count as the speaker's memory. */
function watcher(router: Router): string {
  const outfile = join(router.directory, 'longestTurn.cjs');
  const source = resolve('test/bench/longestTurn.ts');
  const here = JSON.stringify(pathToFileURL(source).href);
  buildSync({
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: 'node',
    define: { 'import.meta.url': here },
  });
  return outfile;
}

interface Measured<R> {
  readonly result: R;
  /** Peak resident memory, MB. */
  readonly memory: number;
  /** Processor time, start included, s. */
  readonly processor: number;
  /** The longest turn of Tombolo's event loop, ms of processor time. */
  readonly turn: number;
}

class Bench {
  readonly #lab = new Lab('bgpbench');
  readonly #speaker = this.#lab.island('dut');
  readonly #load = this.#lab.island('load');

  constructor() {
    this.#lab.link(this.#speaker, [`${TARGET}/30`], this.#load, ['10.98.0.2/30']);
    const addresses = Array.from({ length: 12 }, (_, third) =>
      Array.from({ length: 256 }, (_, fourth) => `address add 10.100.${third}.${fourth}/32 dev lo`),
    );
    this.#load.namespace.run(
      'ip',
      '-batch',
      this.#load.file('addresses', `${addresses.flat().join('\n')}\n`),
    );
    this.#speaker.namespace.run('ip', 'route', 'add', CLIENTS, 'via', '10.98.0.2');
  }

  async measure<R>(daemon: (router: Router) => Daemon, task: Task): Promise<Measured<R>> {
    this.#speaker.file('turn', 'NaN');
    const running = daemon(this.#speaker);
    try {
      await this.#listening(running);
      const result = await this.#run(task);
      const turn = Number(readFileSync(join(this.#speaker.directory, 'turn'), 'utf8'));
      return { result: result as R, memory: peakMemory(running), processor: processorTime(running), turn };
    } finally {
      await running.kill();
    }
  }

  close(): Promise<void> {
    return this.#lab.close();
  }

  async #listening(running: Daemon): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      if (this.#speaker.namespace.attempt('ss', '-Hltn', 'sport', '=', ':179').stdout.trim() !== '') break;
      if (!running.running || attempt > 100) throw new Error(`Cannot start ${running.name}: ${running.log}`);
      await sleep(100);
    }
    await sleep(1000);
  }

  #run(task: Task): Promise<unknown> {
    const load = this.#load.namespace.start(
      process.execPath,
      ['--import', 'tsx', resolve('test/bench/bgpLoad.ts'), JSON.stringify(task)],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let output = '';
    load.stdout?.on('data', (text) => {
      output += text;
    });
    return new Promise((resolve, reject) => {
      load.once('close', (code) => {
        if (code === 0) resolve(JSON.parse(output));
        else reject(new Error(`Cannot measure: the load generator failed (value ${code})`));
      });
    });
  }
}

/** Seconds of processor time so far, from /proc/PID/stat in ticks of 10 ms (proc(5)). */
function processorTime({ child }: Daemon): number {
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8');
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13);
  return (Number(user) + Number(system)) / 100;
}

function peakMemory({ child }: Daemon): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

async function main(): Promise<void> {
  if (!existsSync('dist/tombolo')) throw new Error('Cannot measure: dist/tombolo is missing, run make build');
  const chosen = contenders.filter(({ name }) => (flags.only ?? '').split(',').includes(name));
  const bench = new Bench();
  try {
    const table: Task = { kind: 'table', target: TARGET, prefixes, sets: SETS, holdTime: 3, limit: 240_000 };
    reportTable(await measureAll<TableResult>(bench, chosen, 'table', table));
    for (const clients of (flags.clients ?? '').split(',').filter(Boolean).map(Number)) {
      const task: Task = { kind: 'reflect', target: TARGET, clients, limit: 90_000 };
      reportReflection(clients, await measureAll<ReflectResult>(bench, chosen, 'reflector', task));
    }
  } finally {
    await bench.close();
  }
}

async function measureAll<R>(
  bench: Bench,
  chosen: readonly Contender[],
  role: 'table' | 'reflector',
  task: Task,
): Promise<Map<string, Measured<R>[]>> {
  const all = new Map(chosen.map(({ name }) => [name, [] as Measured<R>[]]));
  for (let round = 0; round < rounds; round++) {
    for (const contender of round % 2 === 0 ? chosen : chosen.toReversed()) {
      if (contender.once && round > 0) continue;
      const measured = await bench.measure<R>((router) => contender[role](router), task);
      process.stderr.write(`${role} ${contender.name} ${JSON.stringify(measured)}\n`);
      all.get(contender.name)?.push(measured);
    }
  }
  return all;
}

function reportTable(all: Map<string, Measured<TableResult>[]>): void {
  const times = (name: string) => (all.get(name) ?? []).map(({ result }) => result.milliseconds);
  report({
    title: `BGP: ${prefixes.toLocaleString('en')} routes in and out`,
    command: 'make bench-bgp',
    method:
      `One external peer announces ${prefixes.toLocaleString('en')} /24 networks with ${SETS.toLocaleString('en')} sets of attributes, another receives them; ` +
      'the clock runs from the first byte sent to the last route received. Hold time is 3 s on both sessions. ' +
      'Peers and speaker share two cores; memory is the peak.',
    header: [
      'speaker',
      'seconds',
      'ratio to tombolo',
      'processor, s',
      'memory, MB',
      'UPDATEs sent',
      'sessions lost',
      'longest turn, ms',
    ],
    rows: [...all].map(([name, measured]) => [
      name,
      formatSpread(spreadOf(times(name).map((time) => time / 1000))),
      formatSpread(ratios(times(name), times('tombolo'))),
      formatSpread(spreadOf(measured.map(({ processor }) => processor)), 1),
      formatSpread(spreadOf(measured.map(({ memory }) => memory)), 0),
      String(measured[0]?.result.updates),
      String(measured.reduce((sum, { result }) => sum + result.sessionsLost, 0)),
      name === 'tombolo' ? formatSpread(spreadOf(measured.map(({ turn }) => turn)), 0) : '',
    ]),
    notes:
      'Goals for Tombolo: 2.5 s, 200 MB, no session lost, no turn above 15 ms. Every message is checked by RFC 7606, ' +
      `every route for loops, by filters and by the guard. A turn is what the event loop does between two looks at its sockets and timers, in processor time. ${machine()}`,
  });
}

function reportReflection(clients: number, all: Map<string, Measured<ReflectResult>[]>): void {
  const times = (name: string) =>
    (all.get(name) ?? []).map(({ result }) => (result.complete ? result.milliseconds : Number.NaN));
  const seconds = (name: string) => times(name).map((time) => time / 1000);
  report({
    title: `BGP: reflection for ${clients.toLocaleString('en')} clients`,
    command: 'make bench-bgp',
    method:
      `${clients.toLocaleString('en')} clients connect, each announces one route and hears of all others; the clock runs from the first connection ` +
      'until the last client has everything. Then one of them dies: the time until all others know.',
    header: [
      'speaker',
      'seconds',
      'ratio to tombolo',
      'sessions',
      'withdrawal, ms',
      'processor, s',
      'memory, MB',
    ],
    rows: [...all].map(([name, measured]) => [
      name,
      measured.every(({ result }) => result.complete)
        ? formatSpread(spreadOf(seconds(name)))
        : 'never complete',
      known(ratios(times(name), times('tombolo')), 2),
      String(Math.min(...measured.map(({ result }) => result.established))),
      known(spreadOf(measured.map(({ result }) => result.withdrawal)), 0),
      formatSpread(spreadOf(measured.map(({ processor }) => processor)), 1),
      formatSpread(spreadOf(measured.map(({ memory }) => memory)), 0),
    ]),
    notes: `Goals for Tombolo: 4 s for 1,000 clients, 10 s for 2,500; withdrawal to 1,000 within 40 ms. ${machine()}`,
  });
}

/** Who the others are, and whether anybody else was at work. */
function machine(): string {
  const packages = ['frr', 'bird2', 'gobgpd'].map((name) => {
    const { stdout } = spawnSync('dpkg-query', ['-W', '-f', `\${Package} \${Version}`, name], {
      encoding: 'utf8',
    });
    return stdout;
  });
  const loads = loadavg().map((load) => load.toFixed(1));
  return `Rounds: ${rounds}, of GoBGP 1. Debian's ${packages.join(', ')}; Linux ${release()}. Load averages (1, 5, 15 minutes) afterwards: ${loads.join(', ')}.`;
}

/** A measurement that failed is no number. */
function known(spread: Spread, digits: number): string {
  return Number.isFinite(spread.median) ? formatSpread(spread, digits) : '';
}

await main();
