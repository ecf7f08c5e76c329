import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { AgentRig } from './agentRig.ts';
import { TestNamespaces } from './namespaces.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const directory = mkdtempSync(join(tmpdir(), 'tbt-install-'));
const root = join(directory, 'image');
/** Where the image will have its Node; nothing of that path is on this machine. */
const NODE = '/opt/node-20/bin/node';

after(() => rmSync(directory, { recursive: true, force: true }));

beforeEach(() => {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root);
});

function script(name: string, ...words: string[]) {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(join(REPOSITORY, 'scripts', name), words, {
    encoding: 'utf8',
    env,
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

function install(...words: string[]) {
  return script('node-install.sh', '--root', root, '--node', NODE, ...words);
}

/** Every file below the root with its mode, and where links lead. */
function files(): Record<string, string> {
  const found = readdirSync(root, { recursive: true, encoding: 'utf8' });
  return Object.fromEntries(
    found.sort().flatMap((name) => {
      const path = join(root, name);
      const stat = lstatSync(path);
      if (stat.isDirectory()) return [];
      return [[name, stat.isSymbolicLink() ? readlinkSync(path) : (stat.mode & 0o777).toString(8)]];
    }),
  );
}

function contents(): Record<string, string> {
  return Object.fromEntries(
    Object.keys(files()).map((name) => {
      const path = join(root, name);
      const link = lstatSync(path).isSymbolicLink();
      return [name, link ? readlinkSync(path) : readFileSync(path, 'latin1')];
    }),
  );
}

/** Build products of which one file is another. */
function productsWith(name: string, text: string): string {
  const copy = mkdtempSync(join(directory, 'dist-'));
  cpSync(join(REPOSITORY, 'dist'), copy, { recursive: true });
  writeFileSync(join(copy, name), text);
  chmodSync(join(copy, name), 0o755);
  return copy;
}

describe('into the file tree of an image, a node', () => {
  test('is installed with every file in its place and mode', () => {
    const { status, stderr } = install();
    assert.deepEqual([status, stderr], [0, '']);
    const { ...found } = files();
    for (const name of Object.keys(found).filter((name) => name.endsWith('.o'))) {
      assert.match(name, /^usr\/local\/lib\/tombolo\/bpf\/\w+\.o$/);
      assert.equal(found[name], '644');
      delete found[name];
    }
    assert.deepEqual(found, {
      'etc/cni/net.d/10-tombolo.conflist': '600',
      'etc/systemd/system/multi-user.target.wants/tombolo-agent.service':
        '/etc/systemd/system/tombolo-agent.service',
      'etc/systemd/system/tombolo-agent.service': '644',
      'etc/tombolo/agent.yaml': '600',
      'opt/cni/bin/tombolo': '755',
      'opt/cni/bin/tombolo.cjs': '755',
      'usr/local/bin/tombolo': '/usr/local/lib/tombolo/tombolo',
      'usr/local/lib/tombolo/tombolo': '755',
    });
    const objects = readdirSync(join(REPOSITORY, 'dist/bpf')).filter((name) => name.endsWith('.o'));
    assert.deepEqual(readdirSync(join(root, 'usr/local/lib/tombolo/bpf')).sort(), objects.sort());
    assert.equal(statSync(join(root, 'var/lib/tombolo')).mode & 0o777, 0o700);
  });

  test('has programs that name their Node absolutely, and a network that names the plugin', () => {
    assert.equal(install().status, 0);
    for (const name of ['opt/cni/bin/tombolo.cjs', 'usr/local/lib/tombolo/tombolo']) {
      assert.equal(readFileSync(join(root, name), 'utf8').split('\n', 1)[0], `#!${NODE}`);
    }
    const conflist = JSON.parse(readFileSync(join(root, 'etc/cni/net.d/10-tombolo.conflist'), 'utf8'));
    assert.ok(conflist.plugins.some(({ type }: { type: string }) => type === 'tombolo'));
  });

  test('is told which Node it will need, unless that is there', () => {
    assert.match(install().stdout, /the image has no \/opt\/node-20\/bin\/node yet/);
    mkdirSync(join(root, dirname(NODE)), { recursive: true });
    symlinkSync('/usr/lib/node-20/bin/node', join(root, NODE));
    assert.doesNotMatch(install().stdout, /has no/);
  });

  test('is installed again over itself, and keeps its configuration', () => {
    assert.equal(install().status, 0);
    const before = contents();
    const config = join(root, 'etc/tombolo/agent.yaml');
    writeFileSync(config, 'bgp: off\n');
    const { status, stdout } = install('--config', join(REPOSITORY, 'deploy/agent.yaml'));
    assert.equal(status, 0);
    assert.match(stdout, /kept .*agent\.yaml as it is/);
    assert.deepEqual(contents(), { ...before, 'etc/tombolo/agent.yaml': 'bgp: off\n' });
  });

  test('is left alone by a bundle that does not run, does not answer, or is not there', () => {
    assert.equal(install().status, 0);
    const before = contents();
    const broken = {
      'throw new Error("broken")': /does not run/,
      'console.log("{}")': /does not answer VERSION: it said '\{\}'/,
    };
    for (const [text, reason] of Object.entries(broken)) {
      const refused = install('--from', productsWith('cni/tombolo.cjs', `#!/usr/bin/env node\n${text}\n`));
      assert.equal(refused.status, 1);
      assert.match(refused.stderr, reason);
      assert.deepEqual(contents(), before);
    }
    const missing = install('--from', mkdtempSync(join(directory, 'empty-')));
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /is missing: run 'make build' first/);
    assert.deepEqual(contents(), before);
  });

  test('that cannot be as it was asked for stays empty', () => {
    const relative = script('node-install.sh', '--root', root, '--node', 'node');
    assert.equal(relative.status, 1);
    assert.match(relative.stderr, /--node must be an absolute path/);
    const unknown = install('--wrong');
    assert.equal(unknown.status, 2);
    assert.match(unknown.stderr, /there is no option '--wrong'/);
    assert.equal(install('--config', '/nowhere/agent.yaml').status, 1);
    assert.deepEqual(files(), {});
  });

  test('may be named relative to where one stands, and is readable for all whatever the umask', () => {
    const command = 'umask 077; exec "$0" --root image --node "$1" --config agent.yaml';
    writeFileSync(join(directory, 'agent.yaml'), 'nodeName: here\n');
    const script = join(REPOSITORY, 'scripts/node-install.sh');
    const { status, stderr } = spawnSync('bash', ['-c', command, script, NODE], {
      cwd: directory,
      encoding: 'utf8',
    });
    assert.deepEqual([status, stderr], [0, '']);
    assert.equal(readFileSync(join(root, 'etc/tombolo/agent.yaml'), 'utf8'), 'nodeName: here\n');
    for (const name of ['usr/local/lib/tombolo', 'usr/local/bin', 'opt/cni/bin']) {
      assert.equal(statSync(join(root, name)).mode & 0o777, 0o755, name);
    }
  });

  test('is uninstalled: what was installed is gone, and with --purge also what was written since', () => {
    assert.equal(install().status, 0);
    writeFileSync(join(root, 'opt/cni/bin/other'), 'another plugin');
    const { status, stderr } = script('node-uninstall.sh', '--root', root);
    assert.deepEqual([status, stderr], [0, '']);
    assert.deepEqual(Object.keys(files()), ['etc/tombolo/agent.yaml', 'opt/cni/bin/other']);
    assert.equal(existsSync(join(root, 'usr/local/lib/tombolo')), false);
    assert.equal(script('node-uninstall.sh', '--root', root, '--purge').status, 0);
    assert.deepEqual(Object.keys(files()), ['opt/cni/bin/other']);
    assert.equal(existsSync(join(root, 'var/lib/tombolo')), false);
  });

  test('that has pods is not uninstalled, unless by force', () => {
    assert.equal(install().status, 0);
    const before = contents();
    const attachments = join(root, 'var/lib/tombolo/attachments');
    mkdirSync(attachments);
    writeFileSync(join(attachments, 'one.json'), '{}');
    const refused = script('node-uninstall.sh', '--root', root);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /1 pods are still attached: drain the node first/);
    assert.deepEqual(contents(), { ...before, 'var/lib/tombolo/attachments/one.json': '{}' });
    assert.equal(script('node-uninstall.sh', '--root', root, '--force').status, 0);
    assert.equal(existsSync(join(root, 'opt/cni/bin/tombolo')), false);
  });
});

test('an agent that is called by its name on the PATH, a link, finds the programs it was installed with', async () => {
  assert.equal(install('--node', process.execPath).status, 0);
  const bin = mkdtempSync(join(directory, 'bin-'));
  symlinkSync(join(root, 'usr/local/lib/tombolo/tombolo'), join(bin, 'tombolo'));
  const namespaces = new TestNamespaces('instl');
  const rig = new AgentRig(namespaces, 'i');
  rig.program = join(bin, 'tombolo');
  try {
    await rig.start();
  } finally {
    await rig.remove();
    namespaces.close();
  }
});

test('a node that is purged has no program at its uplinks, no tunnel and no route of ours', async () => {
  const namespaces = new TestNamespaces('purge');
  const rig = new AgentRig(namespaces, 'p', { routing: 'overlay' });
  try {
    await rig.start();
    await rig.pod('a');
    await rig.end('SIGTERM');
    const left = () =>
      [
        rig.node.run('tc', 'filter', 'show', 'dev', 'up0', 'ingress'),
        rig.node.run('tc', 'filter', 'show', 'dev', 'up0', 'egress'),
        rig.node.run('ip', '-o', 'link', 'show', 'type', 'vxlan'),
        rig.node.run('ip', 'route', 'show', 'proto', '111'),
      ].map((text) => text.trim() !== '');
    assert.deepEqual(left(), [true, true, true, true]);
    rig.node.run('bash', '-euo', 'pipefail', '-c', `. ${REPOSITORY}/scripts/node.sh; clear_kernel`);
    assert.deepEqual(left(), [false, false, false, false]);
  } finally {
    await rig.remove();
    namespaces.close();
  }
});
