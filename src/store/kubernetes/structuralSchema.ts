import { isRecord, type JsonSchema } from '../schema.ts';

type Check = (limit: unknown, value: unknown) => boolean;

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isRecord,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
};

/** The keywords that say something of the value itself. */
const CHECKS: Readonly<Record<string, Check>> = {
  type: (type, value) => TYPES[String(type)]?.(value) ?? false,
  enum: (values, value) => Array.isArray(values) && values.includes(value),
  pattern: (pattern, value) => typeof value === 'string' && new RegExp(String(pattern)).test(value),
  maxLength: (most, value) => String(value).length <= Number(most),
  minimum: (least, value) => Number(value) >= Number(least),
  maximum: (most, value) => Number(value) <= Number(most),
  minItems: (least, value) => Array.isArray(value) && value.length >= Number(least),
  maxItems: (most, value) => Array.isArray(value) && value.length <= Number(most),
  'x-kubernetes-int-or-string': (_, value) => typeof value === 'string' || Number.isInteger(value),
};

/** Those that say something of what is in it, or nothing that could be violated. */
const OTHERS = ['properties', 'required', 'items', 'additionalProperties', 'description'];
const OPEN = 'x-kubernetes-preserve-unknown-fields';

/**
 * What an API server finds wrong with a value by a structural schema, one line each, under `fieldValidation=Strict`: a
 * field that the schema does not name is refused. A keyword that is not known here is an error of its own.
 */
export function violations(schema: JsonSchema, value: unknown, path = ''): string[] {
  const keywords = Object.keys(schema);
  const strange = keywords.find((word) => !(word in CHECKS) && word !== OPEN && !OTHERS.includes(word));
  if (strange !== undefined) throw new RangeError(`Cannot check ${path}: unknown keyword (value ${strange})`);
  const broken = keywords.find((word) => CHECKS[word]?.(schema[word], value) === false);
  if (broken !== undefined) return [`${path}: ${broken} ${JSON.stringify(schema[broken])}`];
  if (Array.isArray(value) && isRecord(schema.items)) {
    const { items } = schema;
    return value.flatMap((item, index) => violations(items, item, `${path}[${index}]`));
  }
  return isRecord(value) ? inFields(schema, value, path) : [];
}

function inFields(schema: JsonSchema, value: Record<string, unknown>, path: string): string[] {
  const { properties = {}, additionalProperties, required = [] } = schema;
  const known = properties as Readonly<Record<string, JsonSchema>>;
  const missing = (required as string[]).filter((name) => !(name in value));
  const found = Object.entries(value).flatMap(([name, field]) => {
    const at = `${path}.${name}`;
    const declared = known[name] ?? (isRecord(additionalProperties) ? additionalProperties : undefined);
    if (declared) return violations(declared, field, at);
    return schema[OPEN] === true || !('properties' in schema) ? [] : [`${at}: unknown field`];
  });
  return [...missing.map((name) => `${path}.${name}: required`), ...found];
}
