import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { RecordStore } from '../../src/attach/record.ts';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { datapathPodPrograms } from '../../src/datapath/podPrograms.ts';
import { loadDatapath, TC_PROGRAMS } from '../../src/datapath/programs.ts';
import { withDescriptor } from '../../src/ebpf/bpf.ts';
import { loadObject } from '../../src/ebpf/object.ts';
import { openPin, replacePin } from '../../src/ebpf/pin.ts';
import { programInfo } from '../../src/ebpf/program.ts';
import { silentLog } from '../../src/log.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodeWorld, type Pod } from './nodeWorld.ts';

const namespaces = new TestNamespaces('tbtreload');
const VIP = '10.96.3.1';
const CONNECTIONS = 10_000;
/** Of the programs that the connections come by, anew from their objects each time. */
const RELOADS = 100;
/** Of everything a node has, as by an agent of another version, each of which takes most of a second. */
const UPGRADES = 10;
const KILLS = 3;

/**
 * Connects, hears the greeting, sends a line, hears it again, closes: again and again, at about 250 a second so that two
 * cores have time for the rest, until enough is done and the input has ended. Prints how many were made, lost, and had
 * to repeat a packet.
 */
const CLIENT = `
const net = require('net');
let made = 0, late = 0, stop = false;
const lost = [];
process.stdin.on('end', () => { stop = true; }).resume();
const one = () => new Promise((done) => {
  const began = performance.now();
  const socket = net.connect(80, '${VIP}');
  let text = '';
  const finish = (why) => { if (why) lost.push(why); else if (performance.now() - began > 900) late++; socket.destroy(); done(); };
  socket.setTimeout(20000, () => finish('timeout after ' + JSON.stringify(text)));
  socket.on('error', (error) => finish(error.code));
  socket.on('data', (data) => {
    text += data;
    if (text === 'server 0\\n') socket.write('hello\\n');
    else if (text === 'server 0\\nhello\\n') finish();
  });
});
(async () => {
  const worker = async () => {
    while (!stop || made < ${CONNECTIONS}) {
      made++;
      await one();
      if (!stop) await new Promise((resolve) => setTimeout(resolve, 16));
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  console.log(JSON.stringify({ made, late, lost }));
})();`;

describe('short connections through a service', () => {
  let world: NodeWorld;
  let pod: Pod;

  before(async () => {
    world = new NodeWorld(namespaces, 'rel', 'packet');
    await world.rig.start();
    const server = await world.server('server');
    pod = await world.pod('client');
    await world.service({ address: VIP, family: 4 }, [{ pod: server }]);
  });

  after(async () => {
    await world.remove();
    namespaces.close();
  });

  test(`of which ${CONNECTIONS} are made while programs are reloaded ${RELOADS} times and the agent is killed: none is lost`, async (t) => {
    const client = pod.namespace.start(process.execPath, ['-e', CLIENT], {
      env: {},
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    client.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = once(client, 'close');
    const node = new Replacements(world);
    const programs = new Set<number>();
    for (let reload = 0; reload < RELOADS; reload++) {
      if (reload % (RELOADS / UPGRADES) === 0) node.upgrade();
      node.reload();
      programs.add(node.program());
      await setTimeout(10);
    }
    assert.equal(programs.size, RELOADS);
    for (let kill = 0; kill < KILLS; kill++) {
      assert.equal(await world.rig.end('SIGKILL'), 'SIGKILL');
      await setTimeout(200);
      await world.rig.start();
    }
    client.stdin?.end();
    await ended;
    const { made, late, lost } = JSON.parse(said);
    t.diagnostic(`${made} connections, ${late} of them late`);
    assert.deepEqual(lost, []);
    assert.ok(made >= CONNECTIONS, `${made} connections`);
    // A stall of a busy machine is no loss; a gap at every replacement would be.
    assert.ok(late < RELOADS / 2, `${late} connections had to repeat a packet`);
  });
});

class Replacements {
  readonly #bpfDir: string;
  readonly #objects = join(import.meta.dirname, '../../dist/bpf');
  readonly #node: TestNamespace;
  readonly #pods: ReturnType<typeof datapathPodPrograms>;

  constructor({ rig }: NodeWorld) {
    this.#node = rig.node;
    this.#bpfDir = rig.bpfDir;
    const records = new RecordStore(join(rig.directory, 'state'));
    this.#pods = datapathPodPrograms({ bpfDir: rig.bpfDir, mode: { socket: false, packet: true }, records });
  }

  /** What an agent of another version does when it starts. */
  upgrade(): void {
    const loaded = loadDatapath({
      bpfDir: this.#bpfDir,
      objects: this.#objects,
      cgroup: undefined,
      log: silentLog,
    });
    try {
      this.#replaceAll();
      loaded.settle();
    } finally {
      loaded[Symbol.dispose]();
    }
  }

  /** The programs of the pods' `eth0`, over the maps that are there. */
  reload(): void {
    const directory = pinDirectory(this.#bpfDir);
    for (const name of ['eth0_egress', 'eth0_ingress'] as const) {
      const object = loadObject(join(this.#objects, `${name}.o`), {
        constants: {},
        maxEntries: {},
        types: TC_PROGRAMS,
        reuse: (wanted) => openPin(directory.map(wanted.name)),
      });
      try {
        for (const [program, fd] of object.programs) replacePin(fd, directory.program(program));
      } finally {
        object.close();
      }
    }
    this.#replaceAll();
  }

  /** Where the host ends are: elsewhere their numbers are those of other devices. */
  #replaceAll(): void {
    assert.deepEqual(
      this.#node.inside(() => this.#pods.replaceAll()),
      [],
    );
  }

  /** What the pods have at egress. */
  program(): number {
    return withDescriptor(openPin(pinDirectory(this.#bpfDir).program('tb_eth0_egress')), programInfo).id;
  }
}
