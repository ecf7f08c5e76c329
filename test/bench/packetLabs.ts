/** A pod and a node whose programs are handed the packets of short connections, one by one. */

import { type IPv4, parseIP } from '../../src/address/ip.ts';
import { NO_ADDRESS } from '../../src/datapath/maps/address.ts';
import { TUNNEL_FLAGS } from '../../src/datapath/maps/tunnels.ts';
import { skBuff, testRun } from '../../src/ebpf/program.ts';
import type { Datapath, ProgramName } from '../kernel/bpfRig.ts';
import { TestPod } from '../kernel/bpfTestPod.ts';
import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { type FrameFields, frame, tcp } from '../kernel/packets.ts';

/** Nanoseconds of one packet. */
export interface Sample {
  readonly packet: string;
  readonly duration: number;
}

export interface Lab {
  /** The packets of one connection, in their order. @param n Tells connections apart. */
  connect(kind: string, n: number): Sample[];
}

/** What a connection with a single request consists of, the server being the first to close. */
const SEGMENTS = [
  ['client', 'S', 'SYN'],
  ['server', 'S.', 'SYN and ACK'],
  ['client', '.', 'ACK'],
  ['client', 'P.', 'request'],
  ['server', 'P.', 'answer'],
  ['server', 'F.', 'first FIN'],
  ['client', 'F.', 'second FIN'],
  ['server', '.', 'last ACK'],
] as const;

type Side = (typeof SEGMENTS)[number][0];

interface Ends {
  readonly client: string;
  readonly clientPort: number;
  readonly server: string;
  readonly serverPort: number;
}

/** Ports of clients: all of them are used before one is used again. */
const FIRST_PORT = 16_384;
const PORTS = 8_192;

const CLIENT = '10.1.0.2';

function segment(ends: Ends, from: Side, flags: string, fields: Partial<FrameFields> = {}): Buffer {
  const { client, clientPort, server, serverPort } = ends;
  const payload = flags === 'P.' ? Buffer.alloc(from === 'client' ? 40 : 160, 'x') : '';
  return from === 'client'
    ? frame({
        source: client,
        destination: server,
        transport: tcp({ from: clientPort, to: serverPort, flags, payload }),
        ...fields,
      })
    : frame({
        source: server,
        destination: client,
        transport: tcp({ from: serverPort, to: clientPort, flags, payload }),
        ...fields,
      });
}

/** The programs on eth0 of a pod. */
export class PodLab implements Lab {
  static readonly kinds = [
    'to a service of one backend',
    'to a service of four',
    'from a port used before',
    'straight to a backend',
    'to anybody',
    'from anybody',
  ];
  readonly #pod: TestPod;

  constructor(namespaces: TestNamespaces, datapath: Datapath, index: number) {
    const create = (name: string) => namespaces.create(`${name}${index}`);
    this.#pod = new TestPod({ create } as TestNamespaces, datapath);
    datapath.addService({ frontend: '10.96.0.1:80', backends: ['10.1.0.21:8080'] });
    const four = [11, 12, 13, 14].map((last) => `10.1.0.${last}:8080`);
    datapath.addService({ frontend: '10.96.0.4:80', backends: four });
  }

  connect(kind: string, n: number): Sample[] {
    const clientPort = FIRST_PORT + (n % PORTS);
    const client = CLIENT;
    switch (kind) {
      case 'to a service of one backend':
        return this.#toService('10.96.0.1', clientPort);
      case 'to a service of four':
        return this.#toService('10.96.0.4', clientPort);
      case 'from a port used before':
        return this.#toService('10.96.0.1', FIRST_PORT + PORTS + (n % 64));
      case 'straight to a backend':
        return this.#straight({ client, clientPort, server: '10.1.0.13', serverPort: 8080 }, 'client');
      case 'to anybody':
        return this.#straight({ client, clientPort, server: '10.1.0.99', serverPort: 8080 }, 'client');
      default:
        return this.#straight(
          { client: '10.1.0.99', clientPort, server: client, serverPort: 8080 },
          'server',
        );
    }
  }

  /** What the server sends comes from the backend, and to the port, that the SYN was given. */
  #toService(address: string, clientPort: number): Sample[] {
    const asked = { client: CLIENT, clientPort, server: address, serverPort: 80 };
    let answered: Ends = asked;
    return SEGMENTS.map(([from, flags, packet]) => {
      if (from === 'server')
        return this.#hand(packet, 'tb_eth0_ingress', segment(answered, from, flags)).sample;
      const { sample, data } = this.#hand(packet, 'tb_eth0_egress', segment(asked, from, flags));
      const server = [...data.subarray(30, 34)].join('.');
      answered = {
        client: CLIENT,
        clientPort: data.readUInt16BE(34),
        server,
        serverPort: data.readUInt16BE(36),
      };
      return sample;
    });
  }

  #straight(ends: Ends, pod: Side): Sample[] {
    return SEGMENTS.map(([from, flags, packet]) => {
      const program = from === pod ? 'tb_eth0_egress' : 'tb_eth0_ingress';
      return this.#hand(packet, program, segment(ends, from, flags)).sample;
    });
  }

  #hand(packet: string, program: ProgramName, bytes: Buffer) {
    const { data, duration } = this.#pod.run(program, bytes);
    return { data, sample: { packet, duration } };
  }
}

const POD_MAC = '02:00:00:00:00:02';
const HOST_MAC = '02:00:00:00:00:01';
const UPLINK_MAC = '02:00:00:00:00:03';
const LEAF_MAC = '02:00:00:00:00:04';

/** The programs at the devices of a node in the underlay: its pod calls one of another node. */
export class NodeLab implements Lab {
  static readonly kinds = ['of a pod with one of another node'];
  readonly #node: TestNamespace;
  readonly #datapath: Datapath;
  readonly #index: { readonly tbo: number; readonly up0: number };

  constructor(namespaces: TestNamespaces, datapath: Datapath, index: number) {
    const [node, far] = [namespaces.create(`node${index}`), namespaces.create(`far${index}`)];
    node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
    for (const [name, mac] of [
      ['tbo', HOST_MAC],
      ['up0', UPLINK_MAC],
    ]) {
      const peer = `type veth peer name ${name} netns ${far.name}`;
      node.run('ip', ...`link add ${name} address ${mac} ${peer}`.split(' '));
      node.run('ip', ...`link set ${name} up`.split(' '));
      far.run('ip', ...`link set ${name} up`.split(' '));
    }
    for (const words of ['address add 192.0.2.2/24 dev up0', 'route add default via 192.0.2.1'])
      node.run('ip', ...words.split(' '));
    const indexOf = (name: string): number => node.ip(`link show ${name}`)[0].ifindex;
    this.#index = { tbo: indexOf('tbo'), up0: indexOf('up0') };
    this.#node = node;
    this.#datapath = datapath;
    this.#fill();
  }

  #fill(): void {
    const { tb_node, tb_pods, tb_tunnels } = this.#datapath.maps;
    const [address, mac, gateway] = [parseIP('192.0.2.2') as IPv4, bytesOf(POD_MAC), bytesOf(HOST_MAC)];
    tb_node.set(0, {
      ...{ uplinks: [this.#index.up0], vxlan: 0, overlay_mtu: 0, tunnel_port: 0, flags: 0 },
      ...{ address, first_port: 20_000, ports: 1_000, ipv6: NO_ADDRESS },
    });
    tb_pods.set(parseIP(CLIENT), { ifindex: this.#index.tbo, flags: 0, mac, gateway });
    // Nodes enough for the prefixes to be found as deep as they are in a cluster.
    for (let other = 0; other < 1000; other++) {
      const segment = parseIP(`10.${2 + (other >> 8)}.${other & 255}.0`);
      tb_tunnels.set(
        { length: 120, address: segment },
        { endpoint: undefined, flags: TUNNEL_FLAGS.ofPods, holder: undefined },
      );
    }
  }

  connect(_kind: string, n: number): Sample[] {
    const ends = {
      client: CLIENT,
      clientPort: FIRST_PORT + (n % PORTS),
      server: '10.3.1.7',
      serverPort: 8080,
    };
    return SEGMENTS.map(([from, flags, packet]) => {
      const leaves = from === 'client';
      const macs = leaves
        ? { sourceMac: POD_MAC, destinationMac: HOST_MAC }
        : { sourceMac: LEAF_MAC, destinationMac: UPLINK_MAC };
      const data = segment(ends, from, flags, macs);
      const context = skBuff({ ifindex: leaves ? this.#index.tbo : this.#index.up0 });
      const program = this.#datapath.program(leaves ? 'tb_host_ingress' : 'tb_uplink_in');
      const { duration } = this.#node.inside(() => testRun(program, { data, context }));
      return { packet, duration };
    });
  }
}

function bytesOf(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}
