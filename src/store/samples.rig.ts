import type { ObjectOf } from './kinds/registry.ts';

export function service(name: string, namespace = 'default', port = 80): ObjectOf<'Service'> {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { type: 'ClusterIP', clusterIP: '10.96.0.10', ports: [{ name: 'main', port }] },
  };
}

export function withPort(object: ObjectOf<'Service'>, port: number): ObjectOf<'Service'> {
  return { ...object, spec: { ...object.spec, ports: [{ name: 'main', port }] } };
}

export function pod(name: string, nodeName: string | undefined, namespace = 'default'): ObjectOf<'Pod'> {
  const spec = nodeName === undefined ? {} : { nodeName };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec };
}

export function nodeNetwork(name: string): ObjectOf<'NodeNetwork'> {
  return {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'NodeNetwork',
    metadata: { name },
    spec: { segments: [{ cidr: '10.0.0.0/26', generation: 1 }] },
  };
}
