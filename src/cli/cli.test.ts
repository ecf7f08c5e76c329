import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';

function tombolo(words: string[], input = '') {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const main = join(import.meta.dirname, 'main.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', main, ...words], {
    input,
    env,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const TWO = `
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.10, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: List
items:
  - apiVersion: network.tombolo.dev/v1alpha1
    kind: BGPPeer
    metadata: { name: leaf-1 }
    spec: { peerIP: 192.0.2.1, asNumber: 64512 }
`;

test('objects go from files into the store and out of it again', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-cli-'));
  const store = `--store=directory:${directory}/store`;
  try {
    mkdirSync(join(directory, 'manifests'));
    writeFileSync(join(directory, 'manifests/two.yaml'), TWO);
    const apply = (input?: string) =>
      tombolo(['apply', store, '-f', input === undefined ? join(directory, 'manifests') : '-'], input);
    assert.equal(apply().stdout, 'service/shop/web created\nbgppeer/leaf-1 created\n');
    assert.equal(apply().stdout, 'service/shop/web unchanged\nbgppeer/leaf-1 unchanged\n');
    const changed = TWO.replace('asNumber: 64512', 'asNumber: 64513');
    assert.equal(apply(changed).stdout, 'service/shop/web unchanged\nbgppeer/leaf-1 updated\n');

    assert.match(
      tombolo(['get', 'svc', store]).stdout,
      /^NAMESPACE {2}NAME {2}TYPE {7}CLUSTER-IP {2}PORTS {3}AGE\nshop {7}web {3}ClusterIP {2}10\.96\.0\.10 {2}80\/TCP {2}\d+s\n$/,
    );
    const json = JSON.parse(tombolo(['get', 'bgppeers', store, '-o', 'json']).stdout);
    assert.equal(json.items[0].spec.asNumber, 64513);
    const selected = (fields: string) =>
      tombolo(['get', 'svc', store, '-o', 'json', '--field-selector', fields]);
    assert.equal(JSON.parse(selected('metadata.name=web').stdout).items.length, 1);
    assert.equal(JSON.parse(selected('metadata.name=api').stdout).items.length, 0);
    assert.match(
      selected('spec.clusterIP=10.96.0.10').stderr,
      /^tombolo: Cannot select Service: expected a field of metadata\.name, metadata\.namespace \(value spec\.clusterIP\)\n$/,
    );
    const yaml = parse(tombolo(['get', 'service', 'web', '-n', 'shop', store, '-o', 'yaml']).stdout);
    assert.equal(yaml.spec.clusterIP, '10.96.0.10');

    assert.equal(tombolo(['delete', 'bgppeer', 'leaf-1', store]).stdout, 'bgppeer/leaf-1 deleted\n');
    const again = tombolo(['delete', 'bgppeer', 'leaf-1', store]);
    assert.equal(again.status, 1);
    assert.equal(again.stderr, 'tombolo: Cannot delete BGPPeer leaf-1: there is none\n');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('what Calico would act upon and nobody does here is accepted, and said by name with what holds instead', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-cli-'));
  const store = `--store=directory:${directory}/store`;
  const pool = (modes: string) => `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: { name: rack-a }
spec: { cidr: 10.20.0.0/16, ${modes} }`;
  const apply = (modes: string) => tombolo(['apply', store, '-f', '-'], pool(modes));
  try {
    const { status, stdout, stderr } = apply('vxlanMode: CrossSubnet, ipipMode: Never');
    assert.equal(status, 0);
    assert.equal(stdout, 'ippool/rack-a created\n');
    assert.equal(
      stderr,
      'warning: IPPool rack-a: spec.vxlanMode has no effect: routing in the configuration of a node says whether its packets go through tunnels\n',
    );
    assert.match(
      apply('ipipMode: Always').stderr,
      /^warning: IPPool rack-a: spec\.ipipMode has no effect: .*\n$/,
    );
    assert.equal(apply('vxlanMode: Never, ipipMode: Never').stderr, '');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('where one object is invalid none is written, and the place is named', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-cli-'));
  const store = `--store=directory:${directory}/store`;
  try {
    const { status, stderr } = tombolo(['apply', store, '-f', '-'], TWO.replace('64512', '0'));
    assert.equal(status, 1);
    assert.match(
      stderr,
      /^tombolo: Cannot read standard input document 2 item 1: cannot accept BGPPeer leaf-1: spec\.asNumber: .* \(value 0\)\n$/,
    );
    assert.equal(tombolo(['get', 'services', store]).status, 1);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('misuse is exit code 2, failure 1, and both are one line', () => {
  const cases: [string[], number, RegExp][] = [
    [['frobnicate'], 2, /unknown command 'frobnicate'/],
    [['get'], 2, /missing required argument 'kind'/],
    [['get', 'frob'], 2, /Cannot find kind "frob": expected one of nodes/],
    [['get', 'svc', '--field-selector', 'a!=b'], 2, /expected FIELD=VALUE.* \(value "a!=b"\)/],
    [['get', 'svc', '-o', 'xml'], 2, /argument 'xml' is invalid/],
    [['preflight', '-o', 'xml'], 2, /argument 'xml' is invalid/],
    [['preflight', '--nodes', 'many'], 2, /expected a number of nodes/],
    [['apply', '-f', '/no/such.yaml'], 1, /^tombolo: Cannot read \/no\/such\.yaml: ENOENT/],
    [['delete', 'svc'], 2, /at least one name/],
    [['get', 'svc', '--store', 'etcd:x'], 1, /expected directory:PATH/],
    [
      ['status', '--socket', '/no/agent.sock'],
      1,
      /Cannot ask the agent on \/no\/agent\.sock: no agent runs there\n$/,
    ],
    [['agent', '--node-ip', 'x'], 1, /--node-ip: expected an address/],
  ];
  for (const [words, status, said] of cases) {
    const outcome = tombolo(words);
    assert.equal(outcome.status, status, words.join(' '));
    assert.match(outcome.stderr, said);
    assert.equal(outcome.stdout, '');
  }
});
