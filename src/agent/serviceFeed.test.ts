import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EndpointSlice } from '../store/kinds/endpointSlice.ts';
import type { Service } from '../store/kinds/service.ts';
import { ServiceFeed } from './serviceFeed.ts';

function service(name: string, version = '1'): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default', resourceVersion: version },
    spec: { ports: [{ port: 80 }] },
  };
}

function slice(name: string, of: string, version = '1'): EndpointSlice {
  const labels = { 'kubernetes.io/service-name': of };
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace: 'default', labels, resourceVersion: version },
    addressType: 'IPv4',
    endpoints: [],
  };
}

function taken(feed: ServiceFeed): string[] {
  return feed
    .take()
    .map(
      ({ key, service, slices }) =>
        `${key}${service ? '' : ' gone'} [${slices.map(({ metadata }) => metadata.name).join(' ')}]`,
    )
    .sort();
}

function listed(services: Service[], slices: EndpointSlice[]): ServiceFeed {
  const feed = new ServiceFeed();
  feed.onService({ type: 'replaced', objects: services });
  feed.onSlice({ type: 'replaced', objects: slices });
  return feed;
}

test('nothing is said before services and slices have both been listed', () => {
  const feed = new ServiceFeed();
  feed.onService({ type: 'replaced', objects: [service('web')] });
  feed.onSlice({ type: 'applied', object: slice('web-1', 'web') });
  assert.deepEqual(taken(feed), []);
  feed.onSlice({ type: 'replaced', objects: [slice('web-1', 'web')] });
  assert.deepEqual(taken(feed), ['default/web [web-1]']);
  assert.deepEqual(taken(feed), []);
});

test('a change of a slice is a change of its service, and of no other', () => {
  const feed = listed([service('web'), service('api')], [slice('web-1', 'web'), slice('api-1', 'api')]);
  taken(feed);
  feed.onSlice({ type: 'applied', object: slice('web-2', 'web') });
  assert.deepEqual(taken(feed), ['default/web [web-1 web-2]']);
  feed.onSlice({ type: 'deleted', object: slice('web-1', 'web') });
  assert.deepEqual(taken(feed), ['default/web [web-2]']);
});

test('a slice that goes over to another service changes both', () => {
  const feed = listed([service('web'), service('api')], [slice('s', 'web')]);
  taken(feed);
  feed.onSlice({ type: 'applied', object: slice('s', 'api', '2') });
  assert.deepEqual(taken(feed), ['default/api [s]', 'default/web []']);
});

test('a new list tells what went while nobody was looking, and leaves alone what did not change', () => {
  const feed = listed([service('web'), service('api')], []);
  taken(feed);
  feed.onService({ type: 'interrupted', error: new Error('gone') });
  feed.onService({ type: 'replaced', objects: [service('api'), service('new')] });
  assert.deepEqual(taken(feed), ['default/new []', 'default/web gone []']);
});

test('what could not be done is done the next time', () => {
  const feed = listed([service('web')], []);
  const inputs = feed.take();
  feed.putBack(inputs);
  assert.deepEqual(taken(feed), ['default/web []']);
});
