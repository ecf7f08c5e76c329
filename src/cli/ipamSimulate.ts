import { Command } from 'commander';
import { listAll } from '../operator/listing.ts';
import { type Change, type Simulation, simulate } from '../operator/simulate.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import type { Store } from '../store/store.ts';
import { readManifests } from './manifests.ts';
import { inStore, type OutputFormat, type StoreOptions, withOutput, withStore } from './options.ts';
import { poolTable } from './poolTable.ts';
import { print, printJson, table } from './print.ts';

interface Options extends StoreOptions {
  filename?: string[];
  delete?: string[];
  disable?: string[];
  withoutNode?: string[];
  output: OutputFormat;
}

/** `tombolo ipam simulate`: what a change of pools or nodes would do. Nothing is written; exit 1 if it would be refused. */
export function simulateCommand(): Command {
  return withOutput(withStore(new Command('simulate')), 'table', 'json')
    .description(
      'say what a change of pools or nodes would do, by the planner of the operator; nothing is written',
    )
    .option('-f, --filename <path...>', 'pools as they would be: files, directories, or - for standard input')
    .option('--delete <pool...>', 'pools that would be deleted')
    .option('--disable <pool...>', 'pools that would be disabled')
    .option('--without-node <node...>', 'nodes that would be gone')
    .action(async (options: Options) => {
      const simulation = await inStore(options, async (store) =>
        simulate(await listAll(store), await changeOf(options, store), Date.now()),
      );
      if (options.output === 'json') printJson(simulation);
      else print(simulationText(simulation));
      if (simulation.changes.some(({ verdict }) => verdict === 'refused')) process.exitCode = 1;
    });
}

async function changeOf(options: Options, store: Store): Promise<Change> {
  const pools = new Map<string, IPPool | undefined>();
  for (const { object, source } of options.filename ? readManifests(options.filename, 'default') : []) {
    if (object.kind !== 'IPPool')
      throw new Error(`Cannot simulate ${source}: only IPPools (value ${object.kind})`);
    pools.set(object.metadata.name, object as IPPool);
  }
  for (const name of options.disable ?? []) {
    const pool = await store.get('IPPool', { name });
    pools.set(name, { ...pool, spec: { ...pool.spec, disabled: true } });
  }
  for (const name of options.delete ?? []) pools.set(name, undefined);
  return { pools, withoutNodes: options.withoutNode ?? [] };
}

function simulationText({ changes, before, after, nodes, stuck, shortages, rounds }: Simulation): string {
  const verdicts = changes.map(({ pool, verdict, reason, advice }) =>
    reason === undefined
      ? `pool ${pool}: ${verdict}\n`
      : `pool ${pool}: ${verdict}: ${reason}\n  instead: ${advice}\n  below: the pool disabled, as a first step\n`,
  );
  const parts = [
    verdicts.join(''),
    `Now\n${poolTable(before)}`,
    `Then, after ${rounds} rounds of the operator\n${poolTable(after)}`,
  ];
  if (nodes.length > 0) {
    parts.push(
      table(
        ['NODE', 'GETS', 'GIVES BACK'],
        nodes.map(({ node, gains, loses }) => [node, someOf(gains), someOf(loses)]),
      ),
    );
  }
  if (stuck.length > 0) {
    parts.push(
      table(
        ['STAYS', 'POOL', 'NODE', 'IN USE'],
        stuck.map(({ block, pool, node, used }) => [block, pool, node, used]),
      ),
    );
  }
  for (const { node, reason } of shortages) parts.push(`node ${node} would lack a segment: ${reason}\n`);
  return parts.filter((part) => part !== '').join('\n');
}

function someOf(blocks: readonly string[]): string | undefined {
  return blocks.length === 0 ? undefined : blocks.join(', ');
}
