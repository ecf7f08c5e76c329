import { Command, InvalidArgumentError } from 'commander';
import { stringify } from 'yaml';
import { messageOf } from '../errors.ts';
import { definitionOf, type Kind, type ObjectOf } from '../store/kinds/registry.ts';
import { parseFields } from '../store/selection.ts';
import { kindOrThrow } from './kindArgument.ts';
import { inStore, type OutputFormat, type StoreOptions, withOutput, withStore } from './options.ts';
import { age, print, printJson, table } from './print.ts';

interface Options extends StoreOptions {
  namespace?: string;
  fieldSelector?: Readonly<Record<string, string>>;
  output: OutputFormat;
}

/** `tombolo get KIND [NAME]`: what the store holds. */
export function getCommand(): Command {
  return withOutput(withStore(new Command('get')), 'table', 'json', 'yaml')
    .description('print objects of the store')
    .argument('<kind>', 'a kind by any of its names: service, services, svc')
    .argument('[name]', 'one object alone')
    .option('-n, --namespace <name>', 'of this namespace only (default: all; with a name: default)')
    .option(
      '--field-selector <list>',
      'of these only: FIELD=VALUE[,FIELD=VALUE…], as kubectl',
      fieldsArgument,
    )
    .action(async (kindName: string, name: string | undefined, options: Options) => {
      const kind = kindOrThrow(kindName);
      const { namespaced } = definitionOf(kind);
      await inStore(options, async (store) => {
        if (name !== undefined) {
          const namespace = namespaced ? (options.namespace ?? 'default') : undefined;
          const object = await store.get(kind, { namespace, name });
          show(kind, [object], object, options.output);
          return;
        }
        const { namespace, fieldSelector: fields } = options;
        const { items, resourceVersion } = await store.list(kind, {
          ...(namespace !== undefined && { namespace }),
          ...(fields !== undefined && { fields }),
        });
        const list = { apiVersion: 'v1', kind: 'List', metadata: { resourceVersion }, items };
        if (items.length > 0 || options.output !== 'table') show(kind, items, list, options.output);
        else process.stderr.write(`There is no ${kind}\n`);
      });
    });
}

function fieldsArgument(text: string): Readonly<Record<string, string>> {
  try {
    return parseFields(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

function show(kind: Kind, objects: readonly ObjectOf<Kind>[], whole: unknown, output: OutputFormat): void {
  if (output === 'json') printJson(whole);
  else if (output === 'yaml') print(stringify(whole, { lineWidth: 0 }));
  else print(objectTable(kind, objects));
}

function objectTable(kind: Kind, objects: readonly ObjectOf<Kind>[]): string {
  const { namespaced, columns = [] } = definitionOf(kind);
  const headings = [
    ...(namespaced ? ['NAMESPACE'] : []),
    'NAME',
    ...columns.map(([heading]) => heading),
    'AGE',
  ];
  const rows = objects.map((object) => [
    ...(namespaced ? [object.metadata.namespace] : []),
    object.metadata.name,
    ...columns.map(([, cell]) => cell(object)),
    age(object.metadata.creationTimestamp),
  ]);
  return table(headings, rows);
}
