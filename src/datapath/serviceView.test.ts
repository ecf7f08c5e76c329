import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatIP, parseIP } from '../address/ip.ts';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import type { ServingNode } from './backendSet.ts';
import { isHandedOver } from './outsideSets.ts';
import type { EndpointSliceObject, ServiceObject, SliceEndpoint } from './serviceObjects.ts';
import { viewService } from './serviceView.ts';

const NODE = 'node-a';
const SELF: ServingNode = {
  name: NODE,
  addresses: ['192.0.2.1', '2001:db8::1'].map(parseIP),
  announcedClusterIPs: [],
};

function service(spec: ServiceObject['spec'] = {}, metadata = {}): ServiceObject {
  return {
    metadata: { namespace: 'shop', name: 'web', ...metadata },
    spec: { clusterIPs: ['10.96.0.10'], ports: [{ name: 'http', port: 80 }], ...spec },
  };
}

function slice(
  endpoints: SliceEndpoint[],
  overrides: Partial<EndpointSliceObject> = {},
): EndpointSliceObject {
  return {
    metadata: { name: 'web-1' },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints,
    ...overrides,
  };
}

function endpoint(
  address: string,
  conditions: SliceEndpoint['conditions'] = { ready: true },
  nodeName = NODE,
): SliceEndpoint {
  return { addresses: [address], conditions, nodeName };
}

const ready = { ready: true, serving: true, terminating: false };
const notReady = { ready: false, serving: false, terminating: false };
const ending = { ready: false, serving: true, terminating: true };
const ended = { ready: false, serving: false, terminating: true };

/** Backends as text, by set. */
function served(object: ServiceObject, slices: EndpointSliceObject[], node = SELF): Record<string, string[]> {
  const view = viewService(object, slices, node);
  return Object.fromEntries(
    view.sets.map(({ key, backends }) => [
      key.replace('shop/web:', ''),
      backends.map(({ address, port, state }) => `${formatIP(address)}:${port} ${state}`).sort(),
    ]),
  );
}

describe('a service is viewed', () => {
  test('with the target port that its slices resolved by name', () => {
    const slices = [
      slice([endpoint('10.1.0.1')]),
      slice([endpoint('10.1.0.2')], { ports: [{ name: 'http', port: 9090 }] }),
      slice([endpoint('10.1.0.3')], { ports: [{ name: 'metrics', port: 9100 }] }),
      slice([endpoint('10.1.0.4')], { ports: [{ name: 'http', protocol: 'UDP', port: 8080 }] }),
      slice([endpoint('10.1.0.5')], { ports: null }),
    ];
    assert.deepEqual(served(service(), slices), {
      '80/TCP/4': ['10.1.0.1:8080 active', '10.1.0.2:9090 active'],
    });
  });

  test('in both families, each with the backends of its own', () => {
    const object = service({ clusterIPs: ['10.96.0.10', 'fd00::10'] });
    const slices = [
      slice([endpoint('10.1.0.1')]),
      slice([endpoint('fd01::1')], { addressType: 'IPv6' }),
      slice([{ addresses: ['a.example'] }], { addressType: 'FQDN' }),
    ];
    assert.deepEqual(served(object, slices), {
      '80/TCP/4': ['10.1.0.1:8080 active'],
      '80/TCP/6': ['fd01::1:8080 active'],
    });
  });

  test('without sets if it is headless, external, or another proxy serves it', () => {
    const slices = [slice([endpoint('10.1.0.1')])];
    assert.deepEqual(served(service({ clusterIPs: ['None'], clusterIP: 'None' }), slices), {});
    assert.deepEqual(served(service({ type: 'ExternalName', clusterIPs: [] }), slices), {});
    const labels = { 'service.kubernetes.io/service-proxy-name': 'other' };
    assert.deepEqual(served(service({}, { labels }), slices), {});
  });

  test('with its external addresses, which it shares, beside those of the cluster', () => {
    const object: ServiceObject = {
      ...service({ externalIPs: ['192.0.2.7'] }),
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.8' }, { ip: '192.0.2.9', ipMode: 'Proxy' }] } },
    };
    const [set] = viewService(object, [], SELF).sets;
    assert.deepEqual(
      set?.frontends.map(({ address, shared }) => [formatIP(address), shared]),
      [
        ['10.96.0.10', false],
        ['192.0.2.7', true],
        ['192.0.2.8', true],
      ],
    );
  });

  test('with affinity and balance as it asks for them', () => {
    const annotations = { 'network.tombolo.dev/balance': 'maglev' };
    const object = service(
      { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 90 } } },
      { annotations },
    );
    const [set] = viewService(object, [], SELF).sets;
    assert.deepEqual([set?.affinitySeconds, set?.balance], [90, 'maglev']);
    const [plain] = viewService(service({ sessionAffinity: 'ClientIP' }), [], SELF).sets;
    assert.deepEqual([plain?.affinitySeconds, plain?.balance], [10800, 'random']);
  });
});

describe('endpoints', () => {
  test('that are ready take new flows; the others keep the TCP flows they have', () => {
    const slices = [
      slice([
        endpoint('10.1.0.1', ready),
        endpoint('10.1.0.2', notReady),
        endpoint('10.1.0.3', ending),
        endpoint('10.1.0.4', ended),
        { addresses: ['10.1.0.5'] },
      ]),
    ];
    assert.deepEqual(served(service(), slices)['80/TCP/4'], [
      '10.1.0.1:8080 active',
      '10.1.0.2:8080 draining',
      '10.1.0.3:8080 draining',
      '10.1.0.4:8080 draining',
      '10.1.0.5:8080 active',
    ]);
  });

  test('that end but still serve stand in when nobody is ready', () => {
    const slices = [slice([endpoint('10.1.0.2', notReady), endpoint('10.1.0.3', ending)])];
    assert.deepEqual(served(service(), slices)['80/TCP/4'], [
      '10.1.0.2:8080 draining',
      '10.1.0.3:8080 active',
    ]);
  });

  test('that do not serve lose their UDP flows', () => {
    const object = service({ ports: [{ name: 'dns', protocol: 'UDP', port: 53 }] });
    const ports = [{ name: 'dns', protocol: 'UDP', port: 5353 }];
    const slices = [
      slice([endpoint('10.1.0.1', ready), endpoint('10.1.0.2', notReady), endpoint('10.1.0.3', ending)], {
        ports,
      }),
    ];
    assert.deepEqual(served(object, slices)['53/UDP/4'], ['10.1.0.1:5353 active', '10.1.0.3:5353 draining']);
  });

  test('count as ready where the service publishes them regardless', () => {
    const slices = [slice([endpoint('10.1.0.2', notReady)])];
    assert.deepEqual(served(service({ publishNotReadyAddresses: true }), slices)['80/TCP/4'], [
      '10.1.0.2:8080 active',
    ]);
  });

  test('of other nodes are none for a local service, but are for its external addresses', () => {
    const object = service({ internalTrafficPolicy: 'Local', externalIPs: ['192.0.2.7'] });
    const slices = [slice([endpoint('10.1.0.1', ready, 'node-b'), endpoint('10.1.0.2', ending)])];
    assert.deepEqual(served(object, slices), {
      '80/TCP/4': ['10.1.0.2:8080 active'],
      '80/TCP/4/external': ['10.1.0.1:8080 active', '10.1.0.2:8080 draining'],
      '80/TCP/4/external/outside': ['10.1.0.1:8080 active', '10.1.0.2:8080 draining'],
      '80/TCP/4/external/handed-over': ['10.1.0.2:8080 active'],
    });
  });

  test('that stand in two slices count once, as ready if either says so', () => {
    const slices = [slice([endpoint('10.1.0.1', notReady)]), slice([endpoint('10.1.0.1', ready)])];
    assert.deepEqual(served(service(), slices)['80/TCP/4'], ['10.1.0.1:8080 active']);
    assert.deepEqual(served(service(), slices.reverse())['80/TCP/4'], ['10.1.0.1:8080 active']);
  });
});

describe('clients outside', () => {
  const slices = [slice([endpoint('10.1.0.1', ready, 'node-b'), endpoint('10.1.0.2')])];
  const ports = [{ name: 'http', port: 80, nodePort: 30080 }];
  const everybody = ['10.1.0.1:8080 active', '10.1.0.2:8080 active'];
  const here = ['10.1.0.2:8080 active'];

  test('come by the addresses of the node, where processes of the node and pods may ask too', () => {
    const object = service({ type: 'NodePort', ports });
    assert.deepEqual(served(object, slices), {
      '80/TCP/4': everybody,
      '80/TCP/4/node-port': everybody,
      '80/TCP/4/node-port/outside': everybody,
    });
    const set = viewService(object, slices, SELF).sets[1];
    assert.deepEqual(
      [set?.port, set?.frontends.map(({ address }) => formatIP(address))],
      [30080, ['192.0.2.1']],
    );
  });

  test('are kept on the node by externalTrafficPolicy Local, and others are not', () => {
    const object: ServiceObject = {
      ...service({ type: 'LoadBalancer', ports, externalTrafficPolicy: 'Local' }),
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.8' }] } },
    };
    assert.deepEqual(served(object, slices), {
      '80/TCP/4': everybody,
      '80/TCP/4/node-port': everybody,
      '80/TCP/4/node-port/outside': here,
      '80/TCP/4/load-balancer/outside': here,
    });
  });

  test('leave a node its other ports where a load balancer names it', () => {
    const object: ServiceObject = {
      ...service({ type: 'LoadBalancer', ports }),
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }, { ip: '192.0.2.8' }] } },
    };
    const sets = viewService(object, slices, SELF).sets.filter(({ key }) => key.includes('load-balancer/'));
    assert.deepEqual(
      sets.map(({ frontends }) => frontends.map(({ address, shared }) => `${formatIP(address)} ${shared}`)),
      [
        ['192.0.2.1 true', '192.0.2.8 false'],
        ['192.0.2.1 true', '192.0.2.8 false'],
      ],
    );
  });

  describe('come by cluster IPs that are announced', () => {
    const node = { ...SELF, announcedClusterIPs: [parsePrefix('10.96.0.0/16'), parsePrefix('fd96::/112')] };

    test('and are handed over between nodes, by policy Cluster', () => {
      assert.deepEqual(served(service(), slices, node), {
        '80/TCP/4': everybody,
        '80/TCP/4/cluster/outside': everybody,
        '80/TCP/4/cluster/handed-over': here,
      });
      const [, outside] = viewService(service(), slices, node).sets;
      assert.deepEqual(
        [outside?.direct, outside?.balance, outside?.frontends],
        [true, 'maglev-if-room', [{ address: parseIP('10.96.0.10'), shared: false }]],
      );
    });

    test('in both families', () => {
      const object = service({ clusterIPs: ['10.96.0.10', 'fd96::10'] });
      const six = slice([endpoint('fd01::1')], { addressType: 'IPv6' });
      assert.deepEqual(served(object, [six], node)['80/TCP/6/cluster/outside'], ['fd01::1:8080 active']);
    });

    test('and stay on the node by externalTrafficPolicy Local', () => {
      const object = service({ type: 'NodePort', externalTrafficPolicy: 'Local' });
      assert.deepEqual(served(object, slices, node), {
        '80/TCP/4': everybody,
        '80/TCP/4/cluster/outside': here,
      });
    });

    test('and by internalTrafficPolicy Local, which is no word about other addresses', () => {
      const object = service({ internalTrafficPolicy: 'Local', externalIPs: ['192.0.2.7'] });
      assert.deepEqual(served(object, slices, node), {
        '80/TCP/4': here,
        '80/TCP/4/external': everybody,
        '80/TCP/4/cluster/outside': here,
        '80/TCP/4/external/outside': everybody,
        '80/TCP/4/external/handed-over': here,
      });
    });

    test('and by no others', () => {
      const object = service({ clusterIPs: ['10.97.0.10', 'fd97::10'] });
      assert.deepEqual(served(object, slices, node), { '80/TCP/4': everybody, '80/TCP/6': [] });
    });
  });

  test('make nodes hand packets over to each other where an address leads to backends anywhere', () => {
    const ranges = [parsePrefix('10.96.0.0/16')];
    const balanced = (ipMode: 'VIP' | 'Proxy', spec = {}): ServiceObject => ({
      ...service(spec),
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.8', ipMode }] } },
    });
    for (const [object, announced, expected] of [
      [service(), [], false],
      [service(), ranges, true],
      [service({ clusterIPs: ['None'] }), ranges, false],
      [service({ clusterIPs: ['10.97.0.10'] }), ranges, false],
      [service({ externalTrafficPolicy: 'Local' }), ranges, false],
      [service({ internalTrafficPolicy: 'Local' }), ranges, false],
      [service({ internalTrafficPolicy: 'Local', externalIPs: ['192.0.2.7'] }), [], true],
      [balanced('VIP'), [], true],
      [balanced('VIP', { externalTrafficPolicy: 'Local' }), [], false],
      [balanced('Proxy'), [], false],
    ] as const) {
      assert.equal(isHandedOver(object, announced), expected, JSON.stringify([object, announced.length]));
    }
  });

  test('are let in by the ranges of a load balancer, and find the same backend on every node', () => {
    const object: ServiceObject = {
      ...service({ externalIPs: ['192.0.2.7'], loadBalancerSourceRanges: ['198.51.100.7/24', 'fd00::/8'] }),
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.8' }, { ip: '192.0.2.7' }] } },
    };
    const sets = viewService(object, slices, SELF).sets.filter(({ scope }) => scope === 'outside');
    assert.deepEqual(
      sets.map(({ frontends, ranges = [], balance }) => [
        frontends.map(({ address, shared }) => `${formatIP(address)} ${shared}`),
        ranges.map(formatPrefix),
        balance,
      ]),
      [
        [['192.0.2.7 true'], [], 'maglev'],
        [['192.0.2.8 false'], ['198.51.100.0/24'], 'maglev'],
      ],
    );
  });
});

describe('what cannot be served is named', () => {
  test('an SCTP service whose target port differs', () => {
    const object = service({ ports: [{ name: 'sig', protocol: 'SCTP', port: 2905 }] });
    const ports = [{ name: 'sig', protocol: 'SCTP', port: 2906 }];
    const view = viewService(object, [slice([endpoint('10.1.0.1')], { ports })], SELF);
    assert.deepEqual(view.sets[0]?.backends, []);
    assert.match(
      view.problems[0] ?? '',
      /^port 2905\/SCTP: the target port must be the same.*\(value 2906\)$/,
    );
  });

  test('addresses, protocols and balances that are none, once each', () => {
    const object = service(
      {
        clusterIPs: ['10.96.0.10', 'fd00::10', 'ten'],
        ports: [{ port: 80 }, { port: 81, protocol: 'DCCP' }],
      },
      { annotations: { 'network.tombolo.dev/balance': 'fair' } },
    );
    const view = viewService(object, [slice([endpoint('10.1.0.999')], { ports: [{ port: 80 }] })], SELF);
    assert.equal(view.problems.length, 4, view.problems.join('\n'));
    assert.equal(view.sets.length, 2);
  });
});

test('what is no address of one host is served for nobody, and named: a service must not get loopback of every node', () => {
  const special = ['127.0.0.1', '0.0.0.0', '224.0.0.1', '169.254.169.254'];
  const { sets, problems } = viewService(
    {
      ...service({ externalIPs: special }),
      status: { loadBalancer: { ingress: [{ ip: '127.0.0.2' }] } },
    },
    [slice([endpoint('127.0.0.1'), endpoint('10.0.0.5')])],
    SELF,
  );
  const addresses = sets.flatMap(({ frontends }) => frontends.map(({ address }) => formatIP(address)));
  assert.deepEqual([...new Set(addresses)], ['10.96.0.10']);
  assert.deepEqual(
    sets.flatMap(({ backends }) => backends.map(({ address }) => formatIP(address))),
    ['10.0.0.5'],
  );
  assert.deepEqual(problems, [
    'address of the service: 127.0.0.1 is loopback',
    'address of the service: 0.0.0.0 is unspecified',
    'address of the service: 224.0.0.1 is multicast',
    'address of the service: 169.254.169.254 is link-local',
    'address of the service: 127.0.0.2 is loopback',
    'address of an endpoint: 127.0.0.1 is loopback',
  ]);
});
