// What the tests of flows have in common: a pod, a service of TCP and one of UDP, and an empty table before each test.
import assert from 'node:assert/strict';
import { after, before, beforeEach } from 'node:test';
import type { Flow, FlowKey } from '../../src/datapath/maps/flows.ts';
import { Datapath, type ServiceHandle } from './bpfRig.ts';
import { at, TestPod, VERDICTS } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { type FrameFields, frame, tcp, udp } from './packets.ts';

const namespaces = new TestNamespaces('bpfflows');
export let datapath: Datapath;
export let pod: TestPod;

export const BACKENDS = ['10.1.0.11', '10.1.0.12', '10.1.0.13', '10.1.0.14'];
export const CLIENT = '10.1.0.2';
export const SERVICE = '10.96.0.1';
export let web: ServiceHandle;
export let dns: ServiceHandle;

before(() => {
  datapath = new Datapath();
  pod = new TestPod(namespaces, datapath);
});

after(() => {
  datapath?.close();
  namespaces.close();
});

beforeEach(() => {
  datapath.forget();
  web = datapath.addService({ frontend: at(SERVICE, 80), backends: BACKENDS.map((ip) => at(ip, 8080)) });
  dns = datapath.addService({
    frontend: at(SERVICE, 53),
    protocol: 'UDP',
    backends: BACKENDS.map((ip) => at(ip, 5353)),
  });
});

export const asked = { source: CLIENT, destination: SERVICE };

/** Sends a packet of the client and tells where it went. */
export function send(flags: string, from = 40000, fields: Partial<FrameFields> = {}): Sent {
  return sent({ ...asked, ...fields, transport: tcp({ from, to: 80, flags }) });
}

export function ask(from = 40000): Sent {
  return sent({ ...asked, transport: udp({ from, to: 53 }) });
}

export interface Sent {
  readonly to: string;
  readonly port: number;
  readonly from: number;
}

export function sent(fields: FrameFields): Sent {
  const { verdict, data } = pod.run('tb_eth0_egress', frame(fields));
  assert.notEqual(verdict, VERDICTS.drop, `dropped: ${JSON.stringify(datapath.metrics())}`);
  return read(data);
}

export function read(data: Buffer): Sent {
  return {
    to: [...data.subarray(30, 34)].join('.'),
    from: data.readUInt16BE(34),
    port: data.readUInt16BE(36),
  };
}

/** The backend answers; what the client sees: who says it, to which port. */
export function answer(flags: string, backend: string, to = 40000): { from: string; to: number } {
  const { verdict, data } = pod.run(
    'tb_eth0_ingress',
    frame({ source: backend, destination: CLIENT, transport: tcp({ from: 8080, to, flags }) }),
  );
  assert.equal(verdict, VERDICTS.next, `dropped: ${JSON.stringify(datapath.metrics())}`);
  return { from: [...data.subarray(26, 30)].join('.'), to: data.readUInt16BE(36) };
}

export function halves(): { forward: Flow; reply: Flow } {
  const flows = datapath.flows();
  const half = (direction: string) => flows.find(([key]) => key.direction === direction)?.[1];
  const [forward, reply] = [half('forward'), half('reply')];
  assert.ok(forward && reply && flows.length === 2, `expected one flow, found ${flows.length} halves`);
  return { forward, reply };
}

/** Lets time pass, as far as the table knows. */
export function age(seconds: number, which: (key: FlowKey) => boolean = () => true): void {
  for (const [key, flow] of datapath.flows()) {
    if (!which(key)) continue;
    // 32 bits that wrap: the machine may have been up for less.
    const [seen, since] = [(flow.seen - seconds) >>> 0, (flow.since - seconds) >>> 0];
    datapath.maps.tb_flows.set(key, { ...flow, seen, since });
  }
}

export const now = () => process.hrtime()[0];
