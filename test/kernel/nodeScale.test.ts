import assert from 'node:assert/strict';
import { existsSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatIP, type IP, parseIPv4 } from '../../src/address/ip.ts';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { loadDatapath } from '../../src/datapath/programs.ts';
import { openServiceMaps } from '../../src/datapath/serviceMaps.ts';
import type { Plan } from '../../src/datapath/servicePlan.ts';
import { type ServiceChange, ServicePlanner } from '../../src/datapath/services.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { listPins, unpin } from '../../src/ebpf/pin.ts';
import { silentLog } from '../../src/log.ts';

const SERVICES = 100_000;
const BACKENDS = 4;
/** Programmed at once, as the agent does. */
const PORTION = 200;

const TCP = 6;
const bpfDir = `/sys/fs/bpf/tbt-scale-${process.pid}`;
const directory = pinDirectory(bpfDir);

before(() => {
  const objects = join(import.meta.dirname, '../../dist/bpf');
  loadDatapath({ bpfDir, objects, cgroup: undefined, log: silentLog })[Symbol.dispose]();
});

after(() => {
  for (const path of [directory.maps, directory.programs, directory.cgroup, directory.links]) {
    for (const name of listPins(path)) unpin(join(path, name));
    if (existsSync(path)) rmdirSync(path);
  }
  if (existsSync(bpfDir)) rmdirSync(bpfDir);
});

const at = (base: string, offset: number) => (parseIPv4(base) + offset) as IP;
const frontendOf = (index: number) => at('10.128.0.0', index);
const backendsOf = (index: number) =>
  Array.from({ length: BACKENDS }, (_, one) => at('10.0.0.0', index * BACKENDS + one));

/** A service whose backends nobody shares: the most entries there can be. */
function service(index: number, backends = backendsOf(index)): ServiceChange {
  const key = `default/s${index}`;
  const set = {
    key: `${key}:80/TCP/4`,
    protocol: 'TCP' as const,
    port: 80,
    frontends: [{ address: frontendOf(index), shared: false }],
    backends: backends.map((address) => ({ address, port: 8080, state: 'active' as const })),
    affinitySeconds: 0,
    balance: 'random' as const,
  };
  return { key, view: { key, sets: [set], problems: [] } };
}

/** How many entries of which map a plan writes and deletes. */
function costOf({ steps }: Plan): string {
  return steps.map(({ map, changes }) => `${map} ${changes.length}`).join(', ');
}

/** Where a service leads, as a program looks it up: frontend, slots, backends. */
function lookUp(index: number): string[] | undefined {
  const services = openMap(directory.map('tb_services'), MAPS.tb_services.key, MAPS.tb_services.value);
  const slots = openMap(directory.map('tb_slots'), MAPS.tb_slots.key, MAPS.tb_slots.value);
  const backends = openMap(directory.map('tb_backends'), MAPS.tb_backends.key, MAPS.tb_backends.value);
  try {
    const entry = services.get({ address: frontendOf(index), port: 80, protocol: TCP });
    if (entry === undefined) return undefined;
    const { number, generation, count } = entry;
    return Array.from({ length: count }, (_, slot) => {
      const backend = backends.get(slots.get({ service: number, generation, index: slot }) ?? 0);
      assert.ok(backend !== undefined && backend.service === number && backend.state === 'active');
      return formatIP(backend.address);
    });
  } finally {
    for (const map of [services, slots, backends]) map.close();
  }
}

/** What one change after another costs when the services up to `last` are there; each is carried out. */
function changesOf(last: number, carryOut: (change: ServiceChange) => Plan): Record<string, string> {
  const [first = at('0.0.0.0', 0), ...others] = backendsOf(last);
  const other = at('10.255.0.0', 0);
  return {
    'a backend goes': costOf(carryOut(service(last, others))),
    'a backend comes': costOf(carryOut(service(last, [other, ...others]))),
    'a backend is another': costOf(carryOut(service(last, [first, ...others]))),
    'a service goes': costOf(carryOut({ key: service(last).key, view: undefined })),
    'a service comes': costOf(carryOut(service(last))),
  };
}

describe(`${SERVICES} services with ${BACKENDS} backends each`, () => {
  const sample = [0, 1, 99, 100, 31_415, 65_535, SERVICES / 2, SERVICES - 1];
  let maps: ReturnType<typeof openServiceMaps>;
  let planner: ServicePlanner;
  let small: Record<string, string>;

  const carryOut = (...changes: ServiceChange[]) => {
    const plan = planner.plan(changes);
    maps.apply(plan);
    return plan;
  };

  before(() => {
    maps = openServiceMaps(directory.maps);
    planner = new ServicePlanner({
      backendLimit: maps.backendLimit,
      ringLimit: maps.ringLimit,
      now: () => 0,
    });
  });

  after(() => maps[Symbol.dispose]());

  test('fit into the maps as they are by default, and each leads to its own backends', (t) => {
    for (let index = 0; index < 100; index++) carryOut(service(index));
    small = changesOf(99, carryOut);
    const began = performance.now();
    for (let start = 100; start < SERVICES; start += PORTION) {
      const size = Math.min(PORTION, SERVICES - start);
      carryOut(...Array.from({ length: size }, (_, one) => service(start + one)));
    }
    t.diagnostic(`programmed in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    for (const index of sample) {
      assert.deepEqual(lookUp(index)?.sort(), backendsOf(index).map(formatIP).sort());
    }
    assert.equal(lookUp(SERVICES), undefined);
  });

  test('change one at a time in as many map operations as a hundred do', () => {
    assert.deepEqual(changesOf(SERVICES - 1, carryOut), small);
    assert.equal(
      small['a service comes'],
      `tb_backends ${BACKENDS}, tb_endpoints ${2 * BACKENDS}, tb_slots ${BACKENDS}, tb_services 1, tb_services 1`,
    );
  });

  test('change at once, and no other is touched', () => {
    const [, ...others] = backendsOf(31_415);
    carryOut(service(31_415, others));
    assert.deepEqual(lookUp(31_415)?.sort(), others.map(formatIP).sort());
    carryOut({ key: service(65_535).key, view: undefined });
    assert.equal(lookUp(65_535), undefined);
    for (const index of sample.filter((index) => index !== 31_415 && index !== 65_535)) {
      assert.deepEqual(lookUp(index)?.sort(), backendsOf(index).map(formatIP).sort());
    }
  });

  test('are taken over by the next run without a single write', (t) => {
    const next = new ServicePlanner({
      backendLimit: maps.backendLimit,
      ringLimit: maps.ringLimit,
      now: () => 0,
    });
    const work = next.adopting(maps.programmed);
    const portions: number[] = [];
    for (let plan: Plan | undefined; plan === undefined; ) {
      const began = performance.now();
      const { done, value } = work.next();
      portions.push(performance.now() - began);
      if (done) plan = value;
      if (plan) assert.equal(costOf(plan), '');
    }
    const whole = portions.reduce((sum, portion) => sum + portion, 0);
    const longest = Math.max(...portions);
    t.diagnostic(
      `taken over in ${(whole / 1000).toFixed(1)} s, ${portions.length} portions, the longest of ${longest.toFixed(0)} ms`,
    );
    assert.ok(longest < whole / 10, 'others have their turns meanwhile');
    assert.equal(costOf(next.plan([service(1)])), '');
  });
});
