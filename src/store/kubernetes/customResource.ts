import { definitionOf, KIND_NAMES, type Kind } from '../kinds/registry.ts';
import { isRecord, type JsonSchema } from '../schema.ts';

/** The kinds that a Kubernetes API server does not know by itself. */
export const CUSTOM_KINDS = KIND_NAMES.filter((kind) => groupOf(kind).endsWith('.tombolo.dev'));

/**
 * What makes an API server serve one of our kinds (`apiextensions.k8s.io/v1`), from what our own validation goes by. A
 * server cannot be told how fields bear on each other, nor our grammars: whoever reads the store looks at that again.
 */
export function customResourceDefinition(kind: Kind) {
  const { plural, shortNames, namespaced, apiVersion } = definitionOf(kind);
  const group = groupOf(kind);
  const names = {
    kind,
    listKind: `${kind}List`,
    plural,
    singular: kind.toLowerCase(),
    ...(shortNames && { shortNames }),
    categories: ['tombolo'],
  };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      names,
      scope: namespaced ? 'Namespaced' : 'Cluster',
      versions: [
        { name: apiVersion.slice(group.length + 1), served: true, storage: true, ...versionOf(kind) },
      ],
    },
  };
}

function versionOf(kind: Kind) {
  const { columns = [], selectable } = definitionOf(kind);
  const schema = schemaOf(kind);
  const printed = columns.flatMap(([heading, , jsonPath]) =>
    jsonPath === undefined ? [] : [{ name: heading, type: typeAt(schema, jsonPath), jsonPath }],
  );
  return {
    ...('status' in schema.properties && { subresources: { status: {} } }),
    ...(selectable && { selectableFields: selectable.map((field) => ({ jsonPath: `.${field}` })) }),
    additionalPrinterColumns: [
      ...printed,
      { name: 'AGE', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ],
    schema: { openAPIV3Schema: schema },
  };
}

/** The whole object: what Kubernetes itself looks after stands in it by type alone. */
function schemaOf(kind: Kind) {
  const { body, description } = definitionOf(kind);
  const { properties, ...rest } = body.json;
  return {
    ...(description !== undefined && { description }),
    ...rest,
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      ...(isRecord(properties) && properties),
    },
  };
}

/** Of what lies in a list, picked out by a filter, everything we show is text. */
function typeAt(schema: JsonSchema, jsonPath: string): string {
  if (jsonPath.includes('[')) return 'string';
  let at: unknown = schema;
  for (const name of jsonPath.split('.').slice(1)) {
    at = isRecord(at) && isRecord(at.properties) ? at.properties[name] : undefined;
  }
  const type = isRecord(at) ? String(at.type) : undefined;
  if (type === undefined) throw new RangeError(`Cannot print column: no such field (value ${jsonPath})`);
  return type === 'array' ? 'string' : type;
}

function groupOf(kind: Kind): string {
  const { apiVersion } = definitionOf(kind);
  return apiVersion.slice(0, apiVersion.lastIndexOf('/') + 1).replace(/\/$/, '');
}
