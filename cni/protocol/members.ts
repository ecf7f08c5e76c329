import { messageOf } from '../../src/errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** How one JSON value is read; `read` throws or returns undefined for what it does not accept. */
export interface Shape<T> {
  /** What a value must be, for the error: `a string`. */
  readonly expected: string;
  read(value: unknown): T | undefined;
}

/** A member that is not what it must be, with the path to it: `runtimeConfig.ips[1]`. */
export class MemberError extends Error {
  override readonly name = 'MemberError';
}

/** Reads the members of one JSON object; every refusal names the member, what it must be, and its value. */
export class Members {
  readonly #object: JsonObject;
  readonly #path: string;

  constructor(object: JsonObject, path = '') {
    this.#object = object;
    this.#path = path;
  }

  /** @throws {MemberError} If the member is missing or not of this shape. */
  required<T>(name: string, shape: Shape<T>): T {
    const value = this.optional(name, shape);
    if (value === undefined) throw new MemberError(`"${this.#path}${name}" is missing, ${shape.expected}`);
    return value;
  }

  /** Undefined where the member is absent or `null`, which is how Go writes an absent list. */
  optional<T>(name: string, shape: Shape<T>): T | undefined {
    const value = this.#object[name];
    return value === undefined || value === null ? undefined : readAs(shape, value, this.#path + name);
  }

  /** Like {@link optional}, for writers who say "none" by an empty string. */
  filled<T>(name: string, shape: Shape<T>): T | undefined {
    return this.#object[name] === '' ? undefined : this.optional(name, shape);
  }

  /** An absent list is an empty one. */
  list<T>(name: string, shape: Shape<T>): T[] {
    return (this.optional(name, array) ?? []).map((item, index) =>
      readAs(shape, item, `${this.#path}${name}[${index}]`),
    );
  }

  /** The members of an object below this one; an absent object has none. */
  inside(name: string): Members {
    return new Members(this.optional(name, object) ?? {}, `${this.#path}${name}.`);
  }

  /** The members of each object in a list. */
  each(name: string): Members[] {
    return this.list(name, object).map((item, index) => new Members(item, `${this.#path}${name}[${index}].`));
  }

  names(): string[] {
    return Object.keys(this.#object);
  }
}

function readAs<T>(shape: Shape<T>, value: unknown, path: string): T {
  let reason = `it must be ${shape.expected}`;
  try {
    const read = shape.read(value);
    if (read !== undefined) return read;
  } catch (error) {
    reason = messageOf(error);
  }
  throw new MemberError(`"${path}" is wrong: ${reason} (value ${excerpt(value)})`);
}

function excerpt(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

export const text: Shape<string> = {
  expected: 'a string',
  read: (value) => (typeof value === 'string' ? value : undefined),
};

export const boolean: Shape<boolean> = {
  expected: 'true or false',
  read: (value) => (typeof value === 'boolean' ? value : undefined),
};

export const object: Shape<JsonObject> = {
  expected: 'an object',
  read: (value) => (isObject(value) ? value : undefined),
};

const array: Shape<readonly unknown[]> = {
  expected: 'a list',
  read: (value) => (Array.isArray(value) ? value : undefined),
};

export const absolutePath: Shape<string> = {
  expected: 'an absolute path',
  read: (value) => (typeof value === 'string' && value.startsWith('/') ? value : undefined),
};

export function integer(least: number, most: number): Shape<number> {
  return {
    expected: `a whole number from ${least} to ${most}`,
    read: (value) =>
      typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
        ? value
        : undefined,
  };
}

export function oneOf<const T extends string>(...values: readonly T[]): Shape<T> {
  return {
    expected: `one of ${values.map((value) => JSON.stringify(value)).join(', ')}`,
    read: (value) => values.find((known) => known === value),
  };
}

/** A string that `parse` accepts; its error tells what was wrong. */
export function parsed<T>(expected: string, parse: (text: string) => T): Shape<T> {
  return { expected, read: (value) => (typeof value === 'string' ? parse(value) : undefined) };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
