import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPrefix } from '../address/prefix.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { Endpoint, EndpointSlice } from '../store/kinds/endpointSlice.ts';
import type { Service } from '../store/kinds/service.ts';
import { ServiceAnnouncements, serviceRangesOf } from './bgpServices.ts';
import { ServiceFeed } from './serviceFeed.ts';

const ranges = serviceRangesOf([
  {
    serviceClusterIPs: [{ cidr: '10.96.0.0/16' }],
    serviceExternalIPs: [{ cidr: '198.51.100.7/32' }],
    serviceLoadBalancerIPs: [{ cidr: '203.0.113.0/24' }],
    serviceLoadBalancerAggregation: 'Disabled',
  },
]);
let version = 0;

/** What node `a` announces beside the cluster range. */
function world() {
  const feed = new ServiceFeed();
  const announcements = new ServiceAnnouncements(feed, 'a');
  feed.onService({ type: 'replaced', objects: [] });
  feed.onSlice({ type: 'replaced', objects: [] });
  const look = (given = ranges) => {
    announcements.refresh();
    return announcements.prefixes(given).map(formatPrefix).join(' ');
  };
  return {
    look,
    changed: () => announcements.refresh(),
    service(spec: Service['spec'], ingress: string[] = [], ipMode?: 'VIP' | 'Proxy') {
      const status = { loadBalancer: { ingress: ingress.map((ip) => ({ ip, ...(ipMode && { ipMode }) })) } };
      const metadata = { name: 'web', namespace: 'shop', resourceVersion: String(++version) };
      const object = { apiVersion: 'v1', kind: 'Service', metadata, spec, status } as Service;
      feed.onService({ type: 'applied', object });
    },
    endpoints(...endpoints: Endpoint[]) {
      const labels = { 'kubernetes.io/service-name': 'web' };
      const metadata = { name: 'web-1', namespace: 'shop', labels, resourceVersion: String(++version) };
      const object = { metadata, addressType: 'IPv4', endpoints } as unknown as EndpointSlice;
      feed.onSlice({ type: 'applied', object });
    },
  };
}

const at = (nodeName: string, ready?: boolean): Endpoint => ({
  addresses: ['10.77.0.1'],
  nodeName,
  ...(ready !== undefined && { conditions: { ready } }),
});

test('an address of policy Cluster is announced while the service has a ready endpoint anywhere', () => {
  const { look, service, endpoints } = world();
  service({ type: 'LoadBalancer', ports: [] }, ['203.0.113.5']);
  assert.equal(look(), '10.96.0.0/16');
  endpoints(at('b'));
  assert.equal(look(), '10.96.0.0/16 203.0.113.5/32');
  endpoints(at('b', false));
  assert.equal(look(), '10.96.0.0/16');
});

test('an address of policy Local is announced while a ready endpoint is here', () => {
  const { look, service, endpoints } = world();
  service({ type: 'LoadBalancer', clusterIP: '10.96.0.9', externalTrafficPolicy: 'Local', ports: [] }, [
    '203.0.113.5',
  ]);
  endpoints(at('b'));
  assert.equal(look(), '10.96.0.0/16');
  endpoints(at('b'), at('a'));
  assert.equal(look(), '10.96.0.0/16 10.96.0.9/32 203.0.113.5/32');
  endpoints(at('a', false));
  assert.equal(look(), '10.96.0.0/16');
});

test('a cluster IP of internalTrafficPolicy Local is announced where a ready endpoint is, other addresses everywhere', () => {
  const { look, service, endpoints } = world();
  const spec = {
    clusterIP: '10.96.0.9',
    internalTrafficPolicy: 'Local',
    externalIPs: ['198.51.100.7'],
  } as const;
  service({ ...spec, ports: [] });
  endpoints(at('b'));
  assert.equal(look(), '10.96.0.0/16 198.51.100.7/32');
  endpoints(at('b'), at('a'));
  assert.equal(look(), '10.96.0.0/16 10.96.0.9/32 198.51.100.7/32');
});

test('a range of one address is announced like the service that has it', () => {
  const { look, service, endpoints } = world();
  service({ externalIPs: ['198.51.100.7', '198.51.100.8'], ports: [] });
  assert.equal(look(), '10.96.0.0/16');
  endpoints(at('b'));
  assert.equal(look(), '10.96.0.0/16 198.51.100.7/32');
});

test('aggregated load balancers are announced as a range, and those of policy Local by themselves as well', () => {
  const { look, service, endpoints } = world();
  const aggregated = { ...ranges, aggregated: true };
  service({ type: 'LoadBalancer', ports: [] }, ['203.0.113.5']);
  endpoints(at('a'));
  assert.equal(look(aggregated), '10.96.0.0/16 203.0.113.0/24');
  service({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: [] }, ['203.0.113.5']);
  assert.equal(look(aggregated), '10.96.0.0/16 203.0.113.0/24 203.0.113.5/32');
});

test('an address that the load balancer proxies, or that lies in no range, is not announced', () => {
  const { look, service, endpoints } = world();
  endpoints(at('a'));
  service({ type: 'LoadBalancer', ports: [] }, ['203.0.113.5'], 'Proxy');
  assert.equal(look(), '10.96.0.0/16');
  service({ type: 'LoadBalancer', ports: [] }, ['192.0.2.5']);
  assert.equal(look(), '10.96.0.0/16');
  service({ type: 'ClusterIP', ports: [] }, ['203.0.113.5']);
  assert.equal(look(), '10.96.0.0/16');
});

test('settings of the node come before those of the cluster', () => {
  const spec = (cidr: string): BGPConfiguration['spec'] => ({ serviceClusterIPs: [{ cidr }] });
  const { clusterIPs } = serviceRangesOf([spec('10.1.0.0/16'), spec('10.2.0.0/16')]);
  assert.deepEqual(clusterIPs.map(formatPrefix), ['10.1.0.0/16']);
});

test('only what changes the addresses counts as a change', () => {
  const { look, changed, service, endpoints } = world();
  look();
  service({ type: 'LoadBalancer', ports: [] }, ['203.0.113.5']);
  assert.equal(changed(), false);
  endpoints(at('b'));
  assert.equal(changed(), true);
  endpoints(at('b'), at('c'));
  assert.equal(changed(), false);
});
