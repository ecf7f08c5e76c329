import { messageOf } from '../errors.ts';

/** One thing wrong with an object: where, why, and the value that was refused. */
export interface Problem {
  /** `spec.peers[0].peerIP`; empty for the object as a whole. */
  readonly path: string;
  readonly reason: string;
  readonly value?: unknown;
}

/** OpenAPI v3, in the structural subset that CustomResourceDefinitions take. */
export type JsonSchema = { readonly [key: string]: unknown };

/** What a field may hold: said once, for the type `T`, for validation, and for the CRD. */
export interface Schema<T> {
  check(value: unknown, path: string, problems: Problem[]): void;
  readonly json: JsonSchema;
  /** Never present: carries the type. */
  readonly type?: T;
}

export type Of<S> = S extends Schema<infer T> ? T : never;

type Fields = Readonly<Record<string, Schema<unknown>>>;
type Shape<Required extends Fields, Optional extends Fields> = {
  readonly [K in keyof Required]: Of<Required[K]>;
} & { readonly [K in keyof Optional]?: Of<Optional[K]> };

/** An object with these fields and no others: an unknown field is a typing mistake that must not pass. */
export function object<R extends Fields, O extends Fields>(required: R, optional: O): Schema<Shape<R, O>> {
  return fields(required, optional, true);
}

/** An object with at least these fields: somebody else's kind, which grows without asking us. */
export function openObject<R extends Fields, O extends Fields>(
  required: R,
  optional: O,
): Schema<Shape<R, O>> {
  return fields(required, optional, false);
}

function fields<R extends Fields, O extends Fields>(
  required: R,
  optional: O,
  closed: boolean,
): Schema<Shape<R, O>> {
  const known: Fields = { ...required, ...optional };
  return {
    check(value, path, problems) {
      if (!isRecord(value)) return void problems.push({ path, reason: 'expected an object', value });
      for (const name of Object.keys(required)) {
        if (value[name] == null) problems.push({ path: join(path, name), reason: 'is required' });
      }
      for (const [name, field] of Object.entries(value)) {
        const schema = known[name];
        if (schema) {
          if (field != null) schema.check(field, join(path, name), problems);
        } else if (closed) {
          problems.push({ path: join(path, name), reason: unknownField(name, Object.keys(known)) });
        }
      }
    },
    json: {
      type: 'object',
      properties: Object.fromEntries(Object.entries(known).map(([name, schema]) => [name, schema.json])),
      ...(Object.keys(required).length > 0 && { required: Object.keys(required) }),
      ...(!closed && { 'x-kubernetes-preserve-unknown-fields': true }),
    },
  };
}

function unknownField(name: string, known: string[]): string {
  const meant = known.find((candidate) => candidate.toLowerCase() === name.toLowerCase());
  return meant ? `unknown field, did you mean ${meant}` : 'unknown field';
}

/** An object with names of the user's choosing, as labels are. */
export function mapOf<T>(values: Schema<T>): Schema<Readonly<Record<string, T>>> {
  return {
    check(value, path, problems) {
      if (!isRecord(value)) return void problems.push({ path, reason: 'expected an object', value });
      for (const [name, entry] of Object.entries(value)) values.check(entry, join(path, name), problems);
    },
    json: { type: 'object', additionalProperties: values.json },
  };
}

export function listOf<T>(
  items: Schema<T>,
  limits: { min?: number; max?: number } = {},
): Schema<readonly T[]> {
  const { min = 0, max = Number.POSITIVE_INFINITY } = limits;
  return {
    check(value, path, problems) {
      if (!Array.isArray(value)) return void problems.push({ path, reason: 'expected a list', value });
      if (value.length < min || value.length > max) {
        problems.push({ path, reason: `expected ${min} to ${max} entries`, value: value.length });
      }
      for (const [index, entry] of value.entries()) items.check(entry, `${path}[${index}]`, problems);
    },
    json: {
      type: 'array',
      items: items.json,
      ...(limits.min !== undefined && { minItems: limits.min }),
      ...(limits.max !== undefined && { maxItems: limits.max }),
    },
  };
}

export function text(limits: { pattern?: RegExp; means?: string; max?: number } = {}): Schema<string> {
  const { pattern, means = 'text', max } = limits;
  return {
    check(value, path, problems) {
      const fits =
        typeof value === 'string' &&
        (pattern?.test(value) ?? true) &&
        value.length <= (max ?? Number.POSITIVE_INFINITY);
      if (!fits) problems.push({ path, reason: `expected ${means}`, value });
    },
    json: {
      type: 'string',
      ...(pattern && { pattern: pattern.source }),
      ...(max !== undefined && { maxLength: max }),
    },
  };
}

/**
 * Text in the language of one of our parsers, which throws where the text is not of it.
 *
 * @param pattern What every such text fits, and few others: for who has only the CRD to go by.
 */
export function parsedBy(parse: (text: string) => unknown, means: string, pattern?: RegExp): Schema<string> {
  return {
    check(value, path, problems) {
      if (typeof value !== 'string') {
        return void problems.push({ path, reason: `expected ${means}`, value });
      }
      try {
        parse(value);
      } catch (error) {
        const reason = messageOf(error)
          .replace(/^Cannot [^:]*: /, '')
          .replace(/ \(value .*\)$/, '');
        problems.push({ path, reason: `expected ${means}: ${reason}`, value });
      }
    },
    json: { type: 'string', ...(pattern && { pattern: pattern.source }) },
  };
}

export function oneOf<const T extends string | number>(...values: T[]): Schema<T> {
  return {
    check(value, path, problems) {
      if (!values.includes(value as T)) {
        problems.push({ path, reason: `expected ${values.join(', ')}`, value });
      }
    },
    json: { type: typeof values[0] === 'number' ? 'integer' : 'string', enum: values },
  };
}

/** A whole number from `min` to `max`, both included. */
export function integer(min: number, max: number): Schema<number> {
  return {
    check(value, path, problems) {
      if (!Number.isInteger(value) || Number(value) < min || Number(value) > max) {
        problems.push({ path, reason: `expected a whole number from ${min} to ${max}`, value });
      }
    },
    json: { type: 'integer', minimum: min, maximum: max },
  };
}

export function boolean(): Schema<boolean> {
  return {
    check(value, path, problems) {
      if (typeof value !== 'boolean') problems.push({ path, reason: 'expected true or false', value });
    },
    json: { type: 'boolean' },
  };
}

/** Either of two, told apart by whether the value is text. */
export function textOr<T>(other: Schema<T>, whenText: Schema<string> = text()): Schema<T | string> {
  return {
    check: (value, path, problems) =>
      (typeof value === 'string' ? whenText : other).check(value, path, problems),
    json: { 'x-kubernetes-int-or-string': true },
  };
}

/** Anything at all. */
export function anything(): Schema<unknown> {
  return { check() {}, json: { 'x-kubernetes-preserve-unknown-fields': true } };
}

/**
 * Empty fields are absent ones, as in Kubernetes; elements of lists stay.
 *
 * @returns The very value if there are none.
 */
export function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(withoutEmpty);
    return items.every((item, index) => item === value[index]) ? value : items;
  }
  if (!isRecord(value)) return value;
  const before = Object.entries(value);
  const after = before.flatMap(([name, field]) =>
    field === null ? [] : ([[name, withoutEmpty(field)]] as const),
  );
  const same = after.length === before.length && after.every(([name, field]) => field === value[name]);
  return same ? value : Object.fromEntries(after);
}

/** `spec.cidr: expected a prefix (value "10.0.0.1/24")`. */
export function formatProblem({ path, reason, value }: Problem): string {
  const shown = value === undefined ? '' : ` (value ${abbreviated(JSON.stringify(value))})`;
  return `${path}${path && ': '}${reason}${shown}`;
}

function abbreviated(json: string): string {
  return json.length > 80 ? `${json.slice(0, 80)}…` : json;
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
