import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../eventually.rig.ts';
import { createLog } from '../log.ts';
import { HealthCheckNodePorts } from './healthCheckNodePorts.ts';
import type { ServiceInput } from './serviceFeed.ts';

const PORT = 30_981;

function input(name: string, healthCheckNodePort: number | undefined, nodes: string[]): ServiceInput {
  const endpoints = nodes.map((nodeName, index) => ({ addresses: [`10.1.0.${index}`], nodeName }));
  return {
    key: `default/${name}`,
    service: {
      metadata: { name, namespace: 'default' },
      spec: { externalTrafficPolicy: 'Local', ...(healthCheckNodePort && { healthCheckNodePort }) },
    },
    slices: [{ metadata: { name }, addressType: 'IPv4', endpoints }],
  } as unknown as ServiceInput;
}

async function asked(): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${PORT}/`);
  const { service, localEndpoints } = (await response.json()) as {
    service: { name: string };
    localEndpoints: number;
  };
  return `${response.status} ${service.name} ${localEndpoints}`;
}

test('a port speaks for the service that has it, also when it goes to another at once', async () => {
  const ports = new HealthCheckNodePorts(
    'here',
    createLog(() => {}, 'error', 'test'),
  );
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
