import { selectorError, type Token, tokenize, type Word } from './tokens.ts';

export type Labels = Readonly<Record<string, string>>;

/** What a selector says, as a tree. */
export type Selector =
  | { readonly kind: 'all' }
  | { readonly kind: 'not'; readonly of: Selector }
  | { readonly kind: 'and' | 'or'; readonly of: readonly Selector[] }
  | { readonly kind: 'has'; readonly label: string }
  | { readonly kind: 'in' | 'notIn'; readonly label: string; readonly values: readonly string[] }
  | { readonly kind: 'contains' | 'startsWith' | 'endsWith'; readonly label: string; readonly value: string };

/**
 * Parses a selector in Calico's grammar: `==`, `!=`, `in`, `not in`, `contains`, `starts with`, `ends with`, `has()`,
 * `all()`, `global()`, `!`, `&&`, `||` and parentheses; `&&` binds closer than `||`. Nothing at all selects everything.
 *
 * @throws {SyntaxError} Naming the place and what was expected there.
 */
export function parseSelector(text: string): Selector {
  const tokens = tokenize(text);
  if (tokens.length === 0) return { kind: 'all' };
  const reader = new Reader(text, tokens);
  const selector = either(reader);
  reader.expectEnd();
  return selector;
}

/**
 * Whether labels satisfy a selector. As in Calico, `!=` and `not in` hold for a label that is not there; the other
 * comparisons do not.
 */
export function selects(selector: Selector, labels: Labels): boolean {
  switch (selector.kind) {
    case 'all':
      return true;
    case 'not':
      return !selects(selector.of, labels);
    case 'and':
      return selector.of.every((part) => selects(part, labels));
    case 'or':
      return selector.of.some((part) => selects(part, labels));
    default:
      return compares(selector, Object.hasOwn(labels, selector.label) ? labels[selector.label] : undefined);
  }
}

/** `!all()`: nothing is selected, so that only what is called by name comes into use. */
export function isNobody(selector: Selector): boolean {
  return selector.kind === 'not' && selector.of.kind === 'all';
}

type Comparison = Extract<Selector, { label: string }>;

function compares(comparison: Comparison, value: string | undefined): boolean {
  switch (comparison.kind) {
    case 'has':
      return value !== undefined;
    case 'in':
      return value !== undefined && comparison.values.includes(value);
    case 'notIn':
      return value === undefined || !comparison.values.includes(value);
    case 'contains':
      return value?.includes(comparison.value) ?? false;
    case 'startsWith':
      return value?.startsWith(comparison.value) ?? false;
    case 'endsWith':
      return value?.endsWith(comparison.value) ?? false;
  }
}

function either(reader: Reader): Selector {
  const parts = [both(reader)];
  while (reader.take('||')) parts.push(both(reader));
  return parts.length === 1 && parts[0] ? parts[0] : { kind: 'or', of: parts };
}

function both(reader: Reader): Selector {
  const parts = [term(reader)];
  while (reader.take('&&')) parts.push(term(reader));
  return parts.length === 1 && parts[0] ? parts[0] : { kind: 'and', of: parts };
}

function term(reader: Reader): Selector {
  if (reader.take('!')) return { kind: 'not', of: term(reader) };
  if (reader.take('all()') || reader.take('global()')) return { kind: 'all' };
  if (reader.take('(')) {
    const inner = either(reader);
    reader.expect(')');
    return inner;
  }
  if (reader.take('has(')) {
    const label = reader.label();
    reader.expect(')');
    return { kind: 'has', label };
  }
  return comparison(reader);
}

function comparison(reader: Reader): Selector {
  const label = reader.label();
  if (reader.take('==')) return { kind: 'in', label, values: [reader.string()] };
  if (reader.take('!=')) return { kind: 'notIn', label, values: [reader.string()] };
  if (reader.take('in')) return { kind: 'in', label, values: reader.set() };
  if (reader.take('not in')) return { kind: 'notIn', label, values: reader.set() };
  if (reader.take('contains')) return { kind: 'contains', label, value: reader.string() };
  if (reader.take('starts with')) return { kind: 'startsWith', label, value: reader.string() };
  if (reader.take('ends with')) return { kind: 'endsWith', label, value: reader.string() };
  throw reader.unexpected('a comparison');
}

class Reader {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(text: string, tokens: readonly Token[]) {
    this.#text = text;
    this.#tokens = tokens;
  }

  take(word: Word): boolean {
    const token = this.#tokens[this.#next];
    if (token?.kind !== 'word' || token.text !== word) return false;
    this.#next++;
    return true;
  }

  expect(word: Word): void {
    if (!this.take(word)) throw this.unexpected(`'${word}'`);
  }

  expectEnd(): void {
    if (this.#next < this.#tokens.length) throw this.unexpected('the end');
  }

  label(): string {
    return this.#textOf('label', 'a label');
  }

  string(): string {
    return this.#textOf('string', 'a quoted string');
  }

  /** `{'a', 'b'}`; may be empty. */
  set(): string[] {
    this.expect('{');
    const values: string[] = [];
    while (!this.take('}')) {
      if (values.length > 0) this.expect(',');
      values.push(this.string());
    }
    return values;
  }

  unexpected(wanted: string): SyntaxError {
    const token = this.#tokens[this.#next];
    return selectorError(this.#text, token?.at ?? this.#text.length, `expected ${wanted}`);
  }

  #textOf(kind: 'label' | 'string', wanted: string): string {
    const token = this.#tokens[this.#next];
    if (token?.kind !== kind) throw this.unexpected(wanted);
    this.#next++;
    return token.text;
  }
}
