import { definitionOf, type Kind } from './kinds/registry.ts';
import { isRecord } from './schema.ts';
import { type Selection, type Store, StoreError } from './store.ts';

/** What every kind can be selected by; what else, its definition says. */
const ALWAYS = ['metadata.name', 'metadata.namespace'];

/**
 * Tells the objects that are meant from the others.
 *
 * @throws {StoreError} `Invalid` if the kind cannot be selected by such a field, as the Kubernetes API refuses it.
 */
export function selector(kind: Kind, { namespace, fields = {} }: Selection): (object: object) => boolean {
  const selectable = [...ALWAYS, ...(definitionOf(kind).selectable ?? [])];
  const wanted = Object.entries(fields).map(([field, value]) => {
    if (!selectable.includes(field)) {
      const known = selectable.join(', ');
      throw new StoreError('Invalid', `Cannot select ${kind}: expected a field of ${known} (value ${field})`);
    }
    return { path: field.split('.'), value };
  });
  if (namespace !== undefined) wanted.push({ path: ['metadata', 'namespace'], value: namespace });
  return (object) => wanted.every(({ path, value }) => valueAt(object, path) === value);
}

/** A store of which only the selected objects are seen, for whoever lists and watches. */
export function narrowed(store: Store, selection: Selection): Pick<Store, 'list' | 'watch'> {
  return {
    list: (kind) => store.list(kind, selection),
    watch: (kind, resourceVersion, signal) => store.watch(kind, resourceVersion, signal, selection),
  };
}

/**
 * As people write it, and the Kubernetes API: `spec.nodeName=node-1,status.phase=Running`.
 *
 * @throws {SyntaxError} If it is no such list.
 */
export function parseFields(text: string): Readonly<Record<string, string>> {
  const parts = text.split(',').map((part) => /^([A-Za-z.]+)==?([^=!]*)$/.exec(part.trim()));
  return Object.fromEntries(
    parts.map((match) => {
      if (!match)
        throw new SyntaxError(`expected FIELD=VALUE[,FIELD=VALUE…] (value ${JSON.stringify(text)})`);
      return [match[1], match[2]];
    }),
  );
}

/** For the query of a request; `fields.EscapeValue` of Kubernetes. */
export function formatFields(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([field, value]) => `${field}=${value.replace(/[\\,=]/g, '\\$&')}`)
    .join(',');
}

/** What is absent is selected by the empty value: `spec.nodeName=` are the pods that no node has yet. */
function valueAt(object: object, path: readonly string[]): string {
  let value: unknown = object;
  for (const key of path) value = isRecord(value) ? value[key] : undefined;
  return value === undefined || value === null ? '' : String(value);
}
