import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { because } from '../../errors.ts';
import {
  boolean,
  formatProblem,
  listOf,
  type Of,
  openObject,
  type Problem,
  type Schema,
  text,
} from '../schema.ts';

/** Where an API server is, and who we are to it. */
export interface Connection {
  readonly server: URL;
  /** PEM. */
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  /** Asked for anew with every request: tokens of service accounts are replaced while they are in use. */
  readonly token: () => string | undefined;
  readonly verify: boolean;
  /** The name the server's certificate is made out to, where that is not its host. */
  readonly serverName: string | undefined;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

const cluster = openObject(
  { server: text({ pattern: /^https?:\/\/.+/, means: 'an http or https URL' }) },
  {
    'certificate-authority': text(),
    'certificate-authority-data': text(),
    'insecure-skip-tls-verify': boolean(),
    'tls-server-name': text(),
  },
);

const user = openObject(
  {},
  {
    'client-certificate': text(),
    'client-certificate-data': text(),
    'client-key': text(),
    'client-key-data': text(),
    token: text(),
    tokenFile: text(),
    exec: openObject({}, {}),
    'auth-provider': openObject({}, {}),
  },
);

const context = openObject({ cluster: text(), user: text() }, {});

const kubeconfig = openObject(
  {
    'current-context': text(),
    contexts: listOf(openObject({ name: text(), context }, {})),
    clusters: listOf(openObject({ name: text(), cluster }, {})),
    users: listOf(openObject({ name: text(), user }, {})),
  },
  {},
);

/**
 * How to reach the API: by the file named, by `KUBECONFIG`, from within a pod, or by `~/.kube/config`.
 *
 * @throws {Error} Naming the file and field that cannot be used.
 */
export function findConnection(file: string | undefined): Connection {
  const named = file || process.env.KUBECONFIG;
  if (named) return readKubeconfig(named);
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env;
  if (host) return withinPod(host, port);
  return readKubeconfig(join(homedir(), '.kube/config'));
}

function withinPod(host: string, port: string): Connection {
  const token = join(SERVICE_ACCOUNT, 'token');
  return {
    server: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    ca: readFileSync(join(SERVICE_ACCOUNT, 'ca.crt'), 'utf8'),
    certificate: undefined,
    key: undefined,
    token: () => readFileSync(token, 'utf8').trim(),
    verify: true,
    serverName: undefined,
  };
}

function readKubeconfig(file: string): Connection {
  try {
    return connectionOf(parse(readFileSync(file, 'utf8')), dirname(file));
  } catch (error) {
    throw because(`use kubeconfig ${file}`, error);
  }
}

/** @param directory What relative paths in the file start from. */
function connectionOf(value: unknown, directory: string): Connection {
  const config = checked(kubeconfig, value);
  const chosen = config['current-context'];
  const context = named(config.contexts, 'context', chosen).context;
  const { cluster } = named(config.clusters, 'cluster', context.cluster);
  const { user } = named(config.users, 'user', context.user);
  if (user.exec || user['auth-provider']) {
    throw new Error(`user ${context.user} gets its credentials from a program, which is not supported`);
  }
  const { token, tokenFile } = user;
  return {
    server: new URL(cluster.server),
    ca: pem(cluster['certificate-authority-data'], cluster['certificate-authority'], directory),
    certificate: pem(user['client-certificate-data'], user['client-certificate'], directory),
    key: pem(user['client-key-data'], user['client-key'], directory),
    token: () =>
      tokenFile === undefined ? token : readFileSync(resolve(directory, tokenFile), 'utf8').trim(),
    verify: !cluster['insecure-skip-tls-verify'],
    serverName: cluster['tls-server-name'],
  };
}

function checked<T>(schema: Schema<T>, value: unknown): Of<Schema<T>> {
  const problems: Problem[] = [];
  schema.check(value, '', problems);
  if (problems.length > 0) throw new Error(problems.map(formatProblem).join('; '));
  return value as Of<Schema<T>>;
}

function named<T extends { name: string }>(entries: readonly T[], what: string, name: string): T {
  const entry = entries.find((candidate) => candidate.name === name);
  if (!entry) throw new Error(`there is no such ${what} (value ${JSON.stringify(name)})`);
  return entry;
}

function pem(data: string | undefined, file: string | undefined, directory: string): string | undefined {
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
  return file === undefined ? undefined : readFileSync(resolve(directory, file), 'utf8');
}
