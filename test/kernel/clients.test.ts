import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentRig } from './agentRig.ts';
import {
  type ContainerRuntime,
  type RuntimeSettings,
  startContainerd,
  startPodman,
} from './containerRuntime.ts';
import { TestNamespaces } from './namespaces.ts';

/** As many as a node starts after a reboot, and more than two cores can take in one by one. */
const CONTAINERS = Array.from({ length: 20 }, (_, index) => `tb${index}`);
const NETWORK = 'tombolo';

const namespaces = new TestNamespaces('clients');
let rig: AgentRig;

before(async () => {
  rig = new AgentRig(namespaces, 'clients');
  await rig.start();
});

after(async () => {
  await rig.remove();
  namespaces.close();
});

/** What a node installs, in directories of this test: the launcher, the bundle, and the list of plugins as it ships. */
function settingsOf(name: string): RuntimeSettings {
  const directory = join(rig.directory, name);
  const [cniBin, cniConf] = [join(directory, 'bin'), join(directory, 'conf')];
  for (const path of [cniBin, cniConf]) mkdirSync(path, { recursive: true });
  for (const file of ['tombolo', 'tombolo.cjs']) copyFileSync(join('dist/cni', file), join(cniBin, file));
  copyFileSync('/usr/lib/cni/portmap', join(cniBin, 'portmap'));
  const list = JSON.parse(readFileSync('cni/conflist/10-tombolo.conflist', 'utf8'));
  Object.assign(list.plugins[0], {
    agentSocket: rig.socket,
    stateDir: join(rig.directory, 'state'),
    bpfDir: rig.bpfDir,
  });
  // Debian's libcni knows nothing beyond 1.0.0.
  delete list.cniVersions;
  writeFileSync(join(cniConf, '10-tombolo.conflist'), JSON.stringify({ ...list, name: NETWORK }));
  return { node: rig.node, directory, cniBin, cniConf };
}

function hostLinks(): string[] {
  return (rig.node.ip('link show') as { ifname: string }[])
    .map(({ ifname }) => ifname)
    .filter((name) => name.startsWith('tbo'));
}

async function leftovers() {
  const { allocations } = await rig.json('/v1/ipam');
  const attachments = join(rig.directory, 'state/attachments');
  return {
    links: hostLinks(),
    routes: rig.node.ip('route show proto 111'),
    records: existsSync(attachments) ? readdirSync(attachments) : [],
    allocations,
    namespaces: JSON.parse(
      rig.node.run('bpftool', '-j', 'map', 'dump', 'pinned', join(rig.bpfDir, 'maps/tb_netns')),
    ).length,
  };
}

async function twentyComeAndGo(start: () => Promise<ContainerRuntime>): Promise<void> {
  const untouched = await leftovers();
  const runtime = await start();
  try {
    await runtime.startAll(CONTAINERS, ['/bin/sleep', '120']);
    const { allocations } = await rig.json('/v1/ipam');
    const addresses: string[] = allocations.flatMap((each: { addresses: string[] }) => each.addresses);
    assert.equal(new Set(addresses).size, CONTAINERS.length);
    assert.equal(hostLinks().length, CONTAINERS.length);
    const shown = await runtime.exec('tb7', ['/bin/ip', '-o', '-4', 'addr', 'show', 'eth0']);
    const own = /inet (\S+)\/32/.exec(shown)?.[1];
    assert.ok(own !== undefined && addresses.includes(own), shown);
    for (const address of addresses) assert.ok(rig.node.pings(address), `${address} answers the node`);
    await runtime.exec('tb7', [
      '/bin/ping',
      '-c',
      '1',
      '-W',
      '2',
      addresses.find((each) => each !== own) ?? '',
    ]);
    await runtime.removeAll(CONTAINERS);
    for (const end = performance.now() + 5000; hostLinks().length > 0 && performance.now() < end; )
      await sleep(50);
    assert.deepEqual(await leftovers(), untouched);
  } finally {
    await runtime.close();
  }
}

test('containerd starts and removes twenty containers at once, and nothing stays behind', () =>
  twentyComeAndGo(() => startContainerd(settingsOf('containerd'))));

test('podman starts and removes twenty containers at once, and nothing stays behind', () =>
  twentyComeAndGo(() => startPodman(settingsOf('podman'), NETWORK)));
