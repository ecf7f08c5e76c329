import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findConnection } from './kubeconfig.ts';

const KUBECONFIG = `
apiVersion: v1
kind: Config
current-context: admin@bank
contexts: [{ name: admin@bank, context: { cluster: bank, user: admin } }]
clusters: [{ name: bank, cluster: { server: "https://192.0.2.1:6443", certificate-authority: ca.crt } }]
users: [{ name: admin, user: { client-certificate-data: Q0VSVA==, client-key-data: S0VZ, tokenFile: token } }]
`;

function find(text: string) {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-kubeconfig-'));
  writeFileSync(join(directory, 'config'), text);
  writeFileSync(join(directory, 'ca.crt'), 'CA');
  writeFileSync(join(directory, 'token'), 'first\n');
  try {
    const connection = findConnection(join(directory, 'config'));
    const first = connection.token();
    writeFileSync(join(directory, 'token'), 'second\n');
    return { ...connection, tokens: [first, connection.token()] };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('certificates come from the file or from beside it, and a token is read anew each time', () => {
  const { server, ca, certificate, key, tokens, verify } = find(KUBECONFIG);
  assert.equal(server.href, 'https://192.0.2.1:6443/');
  assert.deepEqual([ca, certificate, key, verify], ['CA', 'CERT', 'KEY', true]);
  assert.deepEqual(tokens, ['first', 'second']);
});

test('what cannot be used is named', () => {
  const cases: [string, RegExp][] = [
    [KUBECONFIG.replace('current-context: admin@bank', ''), /config: current-context: is required/],
    [KUBECONFIG.replace('cluster: bank,', 'cluster: other,'), /there is no such cluster \(value "other"\)/],
    [
      KUBECONFIG.replace('https://', 'ftp://'),
      /clusters\[0\]\.cluster\.server: expected an http or https URL/,
    ],
    [
      KUBECONFIG.replace('tokenFile: token', 'exec: {}'),
      /credentials from a program, which is not supported/,
    ],
    ['[', /Cannot use kubeconfig .*config: /],
  ];
  for (const [text, reason] of cases) assert.throws(() => find(text), reason, text);
});
