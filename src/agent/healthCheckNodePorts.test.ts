import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../eventually.rig.ts';
import { createLog } from '../log.ts';
import { HealthCheckNodePorts } from './healthCheckNodePorts.ts';
import type { ServiceInput } from './serviceFeed.ts';

const PORT = 30_981;

/** Slices by the nodes of their endpoints. */
function input(
  name: string,
  healthCheckNodePort: number | undefined,
  nodes: string[],
  more: { clusterIPs?: string[]; slices?: object[] } = {},
): ServiceInput {
  const { clusterIPs = ['10.96.0.1'], slices = [] } = more;
  return {
    key: `default/${name}`,
    service: {
      metadata: { name, namespace: 'default' },
      spec: {
        clusterIPs,
        ports: [{ name: 'http', port: 80 }],
        externalTrafficPolicy: 'Local',
        ...(healthCheckNodePort && { healthCheckNodePort }),
      },
    },
    slices: [sliceOf(name, nodes), ...slices],
  } as unknown as ServiceInput;
}

function sliceOf(name: string, nodes: string[], more: { family?: 4 | 6; port?: string } = {}) {
  const { family = 4, port = 'http' } = more;
  const endpoints = nodes.map((nodeName, index) => ({
    addresses: [family === 4 ? `10.1.0.${index}` : `fd01::${index}`],
    nodeName,
  }));
  return {
    metadata: { name },
    addressType: `IPv${family}`,
    ports: [{ name: port, port: 8080, protocol: 'TCP' }],
    endpoints,
  };
}

async function asked(host = '127.0.0.1'): Promise<string> {
  const response = await fetch(`http://${host}:${PORT}/`);
  const { service, localEndpoints } = (await response.json()) as {
    service: { name: string };
    localEndpoints: number;
  };
  return `${response.status} ${service.name} ${localEndpoints}`;
}

function watched(): HealthCheckNodePorts {
  return new HealthCheckNodePorts(
    'here',
    createLog(() => {}, 'error', 'test'),
  );
}

test('what a slice says that serves no port of the service, or the other family, does not count, and an endpoint counts once', async () => {
  const ports = watched();
  try {
    const leftOver = [
      sliceOf('former', ['here'], { port: 'https' }),
      sliceOf('six', ['here'], { family: 6 }),
      { ...sliceOf('portless', ['here']), ports: [] },
    ];
    ports.update([input('a', PORT, ['there'], { slices: leftOver })]);
    await eventually(async () => assert.equal(await asked(), '503 a 0'));
    ports.update([input('a', PORT, ['here', 'here'], { slices: [sliceOf('twin', ['here', 'here'])] })]);
    assert.equal(await asked(), '200 a 2');
  } finally {
    ports.stop();
  }
});

test('of a service of both families either is asked by its own', async () => {
  const ports = watched();
  try {
    const slices = [sliceOf('six', ['there', 'there'], { family: 6 })];
    ports.update([input('a', PORT, ['here'], { clusterIPs: ['10.96.0.1', 'fd96::1'], slices })]);
    await eventually(async () => assert.equal(await asked(), '200 a 1'));
    assert.equal(await asked('[::1]'), '503 a 0');
    ports.update([input('a', PORT, ['here'])]);
    assert.equal(await asked('[::1]'), '200 a 1', 'of one family both are');
  } finally {
    ports.stop();
  }
});

test('a port speaks for the service that has it, also when it goes to another at once', async () => {
  const ports = watched();
  try {
    ports.update([input('a', PORT, ['here', 'there', 'here'])]);
    await eventually(async () => assert.equal(await asked(), '200 a 2'));
    ports.update([input('b', PORT, ['there']), input('a', undefined, ['here'])]);
    await eventually(async () => assert.equal(await asked(), '503 b 0'));
    ports.update([input('b', undefined, [])]);
    await eventually(async () => assert.equal(await asked().catch(() => 'nobody'), 'nobody'));
  } finally {
    ports.stop();
  }
});
