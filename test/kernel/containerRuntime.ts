import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome, TestNamespace } from './namespaces.ts';

/** The image both runtimes start: busybox and nothing else. */
const IMAGE = 'tombolo.test/busybox:1';

/** What a container runtime is given: a node, a scratch directory, and where its CNI plugins and configurations lie. */
export interface RuntimeSettings {
  readonly node: TestNamespace;
  readonly directory: string;
  readonly cniBin: string;
  readonly cniConf: string;
}

export interface ContainerRuntime {
  /** Starts containers at the same time; each runs `command` and stays until {@link removeAll}. */
  startAll(names: readonly string[], command: readonly string[]): Promise<void>;
  exec(name: string, command: readonly string[]): Promise<string>;
  /** Removes containers at the same time. */
  removeAll(names: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** containerd with root, state and socket of its own, in a mount namespace where the CNI directories are ours. */
export async function startContainerd(settings: RuntimeSettings): Promise<ContainerRuntime> {
  const { directory, node, cniBin, cniConf } = settings;
  const socket = join(directory, 'containerd.sock');
  const configuration = join(directory, 'containerd.toml');
  writeFileSync(
    configuration,
    [
      'version = 2',
      `root = "${join(directory, 'root')}"`,
      `state = "${join(directory, 'state')}"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      '[grpc]',
      `  address = "${socket}"`,
    ].join('\n'),
  );
  // ctr knows no other directories than these two.
  for (const target of ['/etc/cni/net.d', '/opt/cni/bin']) mkdirSync(target, { recursive: true });
  const script = `mount --bind ${cniConf} /etc/cni/net.d && mount --bind ${cniBin} /opt/cni/bin && exec containerd -c ${configuration}`;
  const daemon = node.start('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], {
    stdio: 'ignore',
  });
  const ctr = (...words: string[]) =>
    run('nsenter', ['-t', String(daemon.pid), '-m', `--net=${node.path}`, 'ctr', '-a', socket, ...words]);
  await until(
    async () => (await ctr('version')).status === 0,
    () => 'containerd answers',
  );
  succeeded(await ctr('images', 'import', buildImage(directory)));
  /** What went wrong while containers ran, for whoever waits for them in vain. */
  const said: string[] = [];
  const running = new Map<string, { process: ChildProcess; ended: Promise<void> }>();
  return {
    async startAll(names, command) {
      for (const name of names) {
        // In the foreground: only then ctr calls DEL when the container ends.
        const words = ['run', '--rm', '--cni', IMAGE, name, ...command];
        const child = spawn(
          'nsenter',
          ['-t', String(daemon.pid), '-m', `--net=${node.path}`, 'ctr', '-a', socket, ...words],
          { stdio: ['ignore', 'ignore', 'pipe'] },
        );
        child.stderr?.setEncoding('utf8').on('data', (text: string) => said.push(`${name}: ${text.trim()}`));
        running.set(name, {
          process: child,
          ended: new Promise((resolve) => child.once('exit', () => resolve())),
        });
      }
      await until(
        async () => {
          // A task is there before its network is; it runs only after ADD.
          const { stdout } = await ctr('tasks', 'ls');
          return names.every((name) => new RegExp(`^${name}\\s+\\d+\\s+RUNNING`, 'm').test(stdout));
        },
        () => `all containers run (${said.join('; ')})`,
      );
    },
    async exec(name, command) {
      const id = `exec-${createHash('sha256').update(command.join(' ')).digest('hex').slice(0, 8)}`;
      return succeeded(await ctr('tasks', 'exec', '--exec-id', id, name, ...command)).stdout;
    },
    async removeAll(names) {
      await Promise.all(names.map((name) => ctr('tasks', 'kill', '-s', '9', name)));
      await Promise.all(names.map((name) => running.get(name)?.ended));
      for (const name of names) running.delete(name);
    },
    async close() {
      for (const { process } of running.values()) process.kill('SIGKILL');
      daemon.kill('SIGTERM');
      await new Promise((resolve) => daemon.once('exit', resolve));
    },
  };
}

/** podman with its CNI back end and storage of its own. */
export async function startPodman(settings: RuntimeSettings, network: string): Promise<ContainerRuntime> {
  const { directory, node, cniBin, cniConf } = settings;
  const at = (name: string) => join(directory, name);
  writeFileSync(
    at('containers.conf'),
    [
      '[containers]',
      'log_driver = "k8s-file"',
      // podman's own limits are more than an unprivileged machine lets it set.
      'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]',
      '[engine]',
      'runtime = "runc"',
      'cgroup_manager = "cgroupfs"',
      'events_logger = "none"',
      `static_dir = "${at('static')}"`,
      `volume_path = "${at('volumes')}"`,
      `tmp_dir = "${at('tmp')}"`,
      '[network]',
      'network_backend = "cni"',
      `cni_plugin_dirs = ["${cniBin}"]`,
      `network_config_dir = "${cniConf}"`,
    ].join('\n'),
  );
  writeFileSync(
    at('storage.conf'),
    `[storage]\ndriver = "vfs"\ngraphroot = "${at('graph')}"\nrunroot = "${at('run')}"\n`,
  );
  const environment = {
    ...process.env,
    CONTAINERS_CONF: at('containers.conf'),
    CONTAINERS_STORAGE_CONF: at('storage.conf'),
  };
  const podman = (...words: string[]) =>
    run('nsenter', [`--net=${node.path}`, 'podman', ...words], environment);
  const names = new Set<string>();
  const [, image] =
    /Loaded image: (\S+)/.exec(succeeded(await podman('load', '-i', buildImage(directory))).stdout) ?? [];
  if (image === undefined) throw new Error('Cannot load the test image: podman did not say what it loaded');
  return {
    async startAll(wanted, command) {
      for (const name of wanted) names.add(name);
      const start = (name: string) =>
        podman('run', '-d', '--pull', 'never', '--network', network, '--name', name, image, ...command);
      for (const outcome of await Promise.all(wanted.map(start))) succeeded(outcome);
    },
    async exec(name, command) {
      return succeeded(await podman('exec', name, ...command)).stdout;
    },
    async removeAll(wanted) {
      for (const outcome of await Promise.all(wanted.map((name) => podman('rm', '-f', '-t', '0', name)))) {
        succeeded(outcome);
      }
      for (const name of wanted) names.delete(name);
    },
    async close() {
      await Promise.all([...names].map((name) => podman('rm', '-f', '-t', '0', name)));
    },
  };
}

/** An image archive as `docker save` writes it. */
function buildImage(directory: string): string {
  const root = join(directory, 'image', 'rootfs', 'bin');
  mkdirSync(root, { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'busybox'));
  for (const applet of ['sh', 'sleep', 'ip', 'wget', 'ping']) symlinkSync('busybox', join(root, applet));
  const at = (name: string) => join(directory, 'image', name);
  execFileSync('tar', ['cf', at('layer.tar'), '-C', at('rootfs'), '.']);
  const digest = createHash('sha256')
    .update(readFileSync(at('layer.tar')))
    .digest('hex');
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  writeFileSync(
    at('config.json'),
    JSON.stringify({
      architecture,
      os: 'linux',
      config: { Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
    }),
  );
  writeFileSync(
    at('manifest.json'),
    JSON.stringify([{ Config: 'config.json', RepoTags: [IMAGE], Layers: ['layer.tar'] }]),
  );
  execFileSync('tar', ['cf', at('image.tar'), '-C', at('.'), 'config.json', 'layer.tar', 'manifest.json']);
  return at('image.tar');
}

function run(command: string, args: readonly string[], env = process.env): Promise<Outcome> {
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, stdout, stderr }));
  });
}

function succeeded(outcome: Outcome): Outcome {
  if (outcome.status !== 0) throw new Error(`Cannot use the runtime: ${outcome.stderr || outcome.stdout}`);
  return outcome;
}

async function until(holds: () => Promise<boolean>, what: () => string): Promise<void> {
  for (const end = performance.now() + 30_000; performance.now() < end; await sleep(100)) {
    if (await holds()) return;
  }
  throw new Error(`Cannot go on: thirty seconds passed before ${what()}`);
}
