import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig, serviceYaml, sliceYaml } from './agentRig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { firstWord, within } from './within.ts';

const namespaces = new TestNamespaces('agent');
const VIP = '10.96.0.10';

/** Serves TCP on port 8080: says who it is, then echoes. */
async function serve(pod: TestNamespace, name: string): Promise<ChildProcess> {
  const script = `require('net').createServer((s) => { s.on('error', () => {}); s.write(${JSON.stringify(`${name}\n`)}); s.pipe(s); })
    .listen(8080, () => process.stdout.write('ready'))`;
  const server = pod.start(process.execPath, ['-e', script], {
    env: {},
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await firstWord(server);
  return server;
}

/** The first line that a connection brings, or why there was none. */
function ask(pod: TestNamespace, address: string, port = 80): string {
  const script = `const s = require('net').connect(${port}, '${address}');
    s.setTimeout(1000, () => { console.log('timeout'); s.destroy(); });
    s.on('error', (e) => console.log(e.code)); s.once('data', (d) => { console.log(String(d).trim()); s.destroy(); })`;
  return pod.attempt('env', '-i', process.execPath, '-e', script).stdout.trim();
}

describe('an agent', () => {
  let rig: AgentRig;
  let server: { namespace: TestNamespace; address: string };
  let client: { namespace: TestNamespace; address: string };

  before(async () => {
    rig = new AgentRig(namespaces, 'one');
    await rig.start();
    server = await rig.pod('server');
    client = await rig.pod('client');
    await serve(server.namespace, 'server');
  });

  after(async () => {
    await rig.remove();
    namespaces.close();
  });

  test('serves on a socket for root alone', () => {
    assert.equal(statSync(join(rig.directory, 'run')).mode & 0o777, 0o700);
    assert.equal(statSync(rig.socket).mode & 0o777, 0o600);
  });

  test('finds out its uplink and address, and registers the node', async () => {
    const { node, nodeIPs, uplink } = await rig.json('/v1/status');
    assert.deepEqual({ node, nodeIPs, uplink }, { node: 'one', nodeIPs: ['192.0.2.2'], uplink: 'up0' });
    await eventually(async () => {
      const { stdout } = await rig.cli(['get', 'node', 'one', '-o', 'json']);
      assert.equal(JSON.parse(stdout).status.addresses[0].address, '192.0.2.2');
    });
  });

  test('connects pods with each other', () => {
    assert.equal(ask(client.namespace, server.address, 8080), 'server');
  });

  test('a service is reachable as soon as its files are there', async () => {
    rig.drop('Service/default/web.yaml', serviceYaml('web', VIP));
    rig.drop('EndpointSlice/default/web-1.yaml', sliceYaml('web', [server.address]));
    await eventually(() => assert.equal(ask(client.namespace, VIP), 'server'));
    assert.equal(ask(server.namespace, VIP), 'server');
    const [service] = await rig.json('/v1/services');
    assert.deepEqual(service.backends, [{ address: server.address, port: 8080, state: 'active' }]);
    const { stdout } = await rig.cli(['service', 'list']);
    assert.match(stdout, /default {4}web {3}80\/TCP {2}10\.96\.0\.10 {2}10\.77\.0\.\d+:8080/);
  });

  test('an invalid file is reported, and the service serves on', async () => {
    rig.drop('Service/default/web.yaml', serviceYaml('web', 'nonsense'));
    await eventually(async () => {
      const { store } = await rig.json('/v1/status');
      assert.match(store.problems[0], /Service\/default\/web\.yaml: spec\.clusterIP: .*\(value "nonsense"\)/);
    });
    assert.ok(rig.log.some((line) => line.includes('file refused') && line.includes('nonsense')));
    assert.equal(ask(client.namespace, VIP), 'server');
    rig.drop('Service/default/web.yaml', serviceYaml('web', VIP));
    await eventually(async () => assert.deepEqual((await rig.json('/v1/status')).store.problems, []));
  });

  test('a hundred changes of a service leave what was said last', async () => {
    for (let round = 0; round < 100; round++) {
      const address = round % 2 === 0 ? '10.77.0.200' : server.address;
      rig.drop('EndpointSlice/default/web-1.yaml', sliceYaml('web', [address, `10.77.0.${100 + round}`]));
      await new Promise((resolve) => setTimeout(resolve, round % 5));
    }
    rig.drop('EndpointSlice/default/web-1.yaml', sliceYaml('web', [server.address]));
    await eventually(async () => {
      const [{ backends }] = await rig.json('/v1/services');
      assert.deepEqual(backends, [{ address: server.address, port: 8080, state: 'active' }]);
    });
    assert.equal(ask(client.namespace, VIP), 'server');
  });

  test('a second agent in the same directory is refused, and the first serves on', async () => {
    const { status, stderr } = rig.node.attempt(
      'env',
      '-i',
      'PATH=/usr/bin:/bin',
      process.execPath,
      join(import.meta.dirname, '../../dist/tombolo'),
      'agent',
      '--config',
      join(rig.directory, 'agent.yaml'),
    );
    assert.equal(status, 1);
    assert.match(stderr, /^tombolo: Cannot run in .*\/run: another agent does\n$/);
    assert.equal((await rig.get('/v1/status')).status, 200);
  });

  test('killed and started again under live connections, it loses none of them', async () => {
    const script = `const s = require('net').connect(80, '${VIP}'); let sent = 0, text = '', timer;
      const got = () => text.split('\\n').slice(0, -1).filter((l) => /^\\d+$/.test(l)).length;
      const end = () => { if (got() < sent) return; console.log(JSON.stringify({ sent, got: got() })); process.exit(0); };
      s.on('data', (d) => { text += d; });
      s.on('close', () => { console.log('closed after ' + got()); process.exit(1); });
      s.on('error', (e) => console.log(e.code));
      s.on('connect', () => { process.stdout.write('ready'); timer = setInterval(() => s.write(sent++ + '\\n'), 5); });
      process.on('SIGTERM', () => { clearInterval(timer); setInterval(end, 20); setTimeout(() => { console.log('only ' + got() + ' of ' + sent); process.exit(1); }, 10_000); });`;
    const connections = Array.from({ length: 5 }, () =>
      client.namespace.start(process.execPath, ['-e', script], {
        env: {},
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    );
    const said = connections.map(() => '');
    for (const [index, { stdout }] of connections.entries()) {
      assert.ok(stdout);
      stdout.on('data', (text) => {
        said[index] += String(text);
      });
      await once(stdout, 'data');
    }
    for (let round = 0; round < 2; round++) {
      assert.equal(await rig.end('SIGKILL'), 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(ask(client.namespace, VIP), 'server', 'nothing serves while no agent runs');
      await rig.start();
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const connection of connections) connection.kill('SIGTERM');
    await Promise.all(connections.map((connection) => once(connection, 'close')));
    for (const text of said) {
      assert.match(text, /^ready\{"sent":\d+,"got":\d+\}/, text);
      const { sent, got } = JSON.parse(text.replace('ready', ''));
      assert.ok(got > 50 && got === sent, text);
    }
  });

  test('it remembers its addresses and attachments over a restart', async () => {
    const endpoints = await rig.json('/v1/endpoints');
    assert.deepEqual(
      endpoints.map(({ addresses }: { addresses: string[] }) => addresses[0]).sort(),
      [client.address, server.address].sort(),
    );
    const { allocations } = await rig.json('/v1/ipam');
    assert.equal(allocations.length, 2);
    const { stdout } = await rig.cli(['ipam', 'show']);
    assert.match(stdout, /10\.77\.0\.0\/24 {2}active/);
    const third = await rig.pod('third');
    assert.ok(![client.address, server.address].includes(third.address));
    assert.equal((await rig.verb('DEL', 'one-third', third.namespace.path)).status, 200);
    assert.equal((await rig.json('/v1/ipam')).allocations.length, 2);
  });

  test('a restart forgets services whose files went meanwhile, and only those', async () => {
    rig.drop('Service/default/old.yaml', serviceYaml('old', '10.96.0.11'));
    rig.drop('EndpointSlice/default/old-1.yaml', sliceYaml('old', [server.address]));
    await eventually(() => assert.equal(ask(client.namespace, '10.96.0.11'), 'server'));
    await rig.end('SIGKILL');
    spawnSync('rm', ['-r', join(rig.directory, 'store/Service/default/old.yaml')]);
    await rig.start();
    await eventually(async () => {
      const services = await rig.json('/v1/services');
      assert.deepEqual(
        services.map(({ name }: { name: string }) => name),
        ['web'],
      );
    });
    assert.equal(ask(client.namespace, VIP), 'server');
  });

  test('a file that is invalid when an agent starts leaves the service as an earlier one had it', async () => {
    rig.drop('Service/default/web.yaml', serviceYaml('web', 'nonsense'));
    await rig.end('SIGKILL');
    await rig.start();
    await eventually(async () => assert.ok((await rig.json('/v1/status')).store.synced));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(ask(client.namespace, VIP), 'server');
    rig.drop('Service/default/web.yaml', serviceYaml('web', VIP));
    await eventually(async () => assert.deepEqual((await rig.json('/v1/status')).store.problems, []));
    assert.equal(ask(client.namespace, VIP), 'server');
  });

  test('segments of a NodeNetwork take the place of the configured ones, and their use is reported', async () => {
    const spec = {
      segments: [{ cidr: '10.77.0.0/24', state: 'releasing', generation: 2 }, { cidr: '10.78.0.0/28' }],
    };
    // The agent writes to the same object: who loses a race reads again.
    await eventually(async () => {
      const written = await rig.cli(['get', 'nodenetwork', 'one', '-o', 'json']);
      assert.equal(written.stderr, '');
      const object = JSON.parse(written.stdout);
      assert.equal(object.status.segments[0].cidr, '10.77.0.0/24');
      const changed = JSON.stringify({ ...object, status: undefined, spec });
      const applied = await rig.cli(['apply', '-f', '-'], changed);
      assert.match(applied.stdout, /nodenetwork\/one updated/, applied.stderr);
    });
    await eventually(async () => {
      const { segments } = await rig.json('/v1/ipam');
      assert.deepEqual(
        segments.map(({ cidr, state }: { cidr: string; state: string }) => `${cidr} ${state}`),
        ['10.77.0.0/24 releasing', '10.78.0.0/28 active'],
      );
    });
    const pod = await rig.pod('fourth');
    assert.match(pod.address, /^10\.78\.0\./);
    assert.equal(ask(pod.namespace, VIP), 'server');
    await eventually(async () => {
      const { status } = JSON.parse((await rig.cli(['get', 'nodenetwork', 'one', '-o', 'json'])).stdout);
      assert.deepEqual(
        status.segments.map(({ used, generation }: { used: number; generation: number }) => [
          used,
          generation,
        ]),
        [
          [2, 2],
          [1, 1],
        ],
      );
    });
    await rig.verb('DEL', 'one-fourth', pod.namespace.path);
  });

  test('its metrics tell what happened, in the format of Prometheus', async () => {
    const { status, body } = await rig.get('/metrics');
    assert.equal(status, 200);
    const value = (sample: string) =>
      Number(
        body
          .split('\n')
          .find((line) => line.startsWith(`${sample} `))
          ?.split(' ')[1],
      );
    assert.equal(value('tombolo_services'), 1);
    assert.equal(value('tombolo_store_synced'), 1);
    assert.equal(value('tombolo_endpoints'), 2);
    assert.ok(value('tombolo_cni_calls_total{verb="ADD",code="0"}') >= 1);
    assert.ok(value('tombolo_ipam_addresses{segment="10.77.0.0/24",state="used"}') === 2);
    // Linux shows how full the table is in the first network namespace alone: elsewhere there is no such sample, and no zero.
    const shown = rig.node.attempt('test', '-e', '/proc/net/stat/arp_cache').status === 0;
    for (const family of ['ipv4', 'ipv6']) {
      assert.equal(value(`tombolo_neighbour_entries{family="${family}"}`) >= 0, shown, family);
      assert.equal(value(`tombolo_neighbour_overflows_total{family="${family}"}`) >= 0, shown, family);
    }
    assert.ok(value('tombolo_datapath_events_total{reason="flow_created",kind="event"}') > 0);
    for (const line of body.trimEnd().split('\n')) {
      assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+(Inf)?)$/);
    }
  });

  test('what it does not serve is refused by name', async () => {
    const { status, body } = await rig.get('/v1/nothing');
    assert.equal(status, 404);
    assert.match(body, /no such resource, expected \/metrics or one of \/v1\/status/);
  });

  test('an ADD that cannot have an address says why, and to try again', async () => {
    const pod = namespaces.create('one-greedy');
    const { status, body } = await rig.verb('ADD', 'one-greedy', pod.path, {
      runtimeConfig: { ips: ['10.78.0.5/32'] },
      capabilities: { ips: true },
    });
    assert.equal(status, 200, body);
    const other = namespaces.create('one-late');
    const refused = await rig.verb('ADD', 'one-late', other.path, {
      runtimeConfig: { ips: ['10.78.0.5/32'] },
      capabilities: { ips: true },
    });
    assert.equal(refused.status, 500);
    assert.match(
      refused.body,
      /"code":11,"msg":"Cannot allocate 10\.78\.0\.5: container one-greedy holds it"/,
    );
    await rig.verb('DEL', 'one-greedy', pod.path);
  });

  test('told to stop, it ends with 0 and leaves the pods as they are', async () => {
    assert.equal(await rig.end('SIGTERM'), 0);
    assert.ok(!existsSync(rig.socket));
    assert.equal(ask(client.namespace, VIP), 'server');
    const { status, stderr } = await rig.cli(['status']);
    assert.equal(status, 1);
    assert.match(stderr, /no agent runs there/);
    await rig.start();
  });
});

describe('two agents', () => {
  test('side by side on one kernel know nothing of each other', async () => {
    const own = new TestNamespaces('agents');
    const rigs = [new AgentRig(own, 'a'), new AgentRig(own, 'b')];
    try {
      for (const [index, rig] of rigs.entries()) {
        await rig.start();
        const server = await rig.pod('server');
        await serve(server.namespace, `server ${index}`);
        rig.drop('Service/default/web.yaml', serviceYaml('web', VIP));
        rig.drop('EndpointSlice/default/web-1.yaml', sliceYaml('web', [server.address]));
      }
      for (const [index, rig] of rigs.entries()) {
        const { namespace } = await rig.pod('client');
        await eventually(() => assert.equal(ask(namespace, VIP), `server ${index}`));
      }
    } finally {
      for (const rig of rigs) await rig.remove();
      own.close();
    }
  });

  test('of which one is told the directories of the other is refused before it touches them', async () => {
    const own = new TestNamespaces('agentd');
    const [first, second] = [new AgentRig(own, 'a'), new AgentRig(own, 'b')];
    try {
      await first.start();
      const { address } = await first.pod('server');
      const { bpfDir } = first;
      await assert.rejects(second.start({ bpfDir }), /Cannot pin under .*-a: another agent does/);
      assert.equal((await first.json('/v1/status')).endpoints, 1);
      assert.equal(first.node.pings(address), true);
    } finally {
      for (const rig of [first, second]) await rig.remove();
      own.close();
    }
  });

  test('one that cannot start says why in one line, ends, and leaves nothing that listens', async () => {
    const own = new TestNamespaces('agentf');
    const rig = new AgentRig(own, 'f');
    try {
      const wrong: [Record<string, unknown>, RegExp][] = [
        [{ runDir: '/etc/hostname' }, /^tombolo: Cannot run in \/etc\/hostname: EEXIST/],
        [
          { runDir: join(rig.directory, 'x'.repeat(100)) },
          /^tombolo: Cannot run in .*: the path of the socket must not be longer than 107 bytes/,
        ],
        [
          { metricsAddress: '192.0.2.77:9' },
          /^tombolo: Cannot listen on 192\.0\.2\.77 port 9: .*EADDRNOTAVAIL/,
        ],
      ];
      for (const [changes, said] of wrong) {
        await assert.rejects(within('the agent to end', rig.start(changes)), /the agent ended with 1/);
        assert.match(rig.log.filter((line) => line.startsWith('tombolo: ')).at(-1) ?? '', said);
        assert.equal(existsSync(rig.socket), false);
      }
    } finally {
      await rig.remove();
      own.close();
    }
  });

  test('a damaged journal keeps an agent from giving out addresses, and says where it is', async () => {
    const own = new TestNamespaces('agentj');
    const rig = new AgentRig(own, 'j');
    try {
      await rig.start();
      await rig.pod('a');
      await rig.pod('b');
      await rig.end('SIGKILL');
      const journal = join(rig.directory, 'state/ipam/journal.jsonl');
      const text = spawnSync('cat', [journal], { encoding: 'utf8' }).stdout;
      writeFileSync(journal, text.replace('10.77.0.0"', '10.77.0.9"'));
      await assert.rejects(rig.start(), /journal\.jsonl: line \d+ is damaged/);
    } finally {
      await rig.remove();
      own.close();
    }
  });
});
