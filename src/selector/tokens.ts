/** The words of Calico's selector language. */
export type Token =
  | { readonly kind: 'label'; readonly text: string; readonly at: number }
  | { readonly kind: 'string'; readonly text: string; readonly at: number }
  | { readonly kind: 'word'; readonly text: Word; readonly at: number };

/** Operators and punctuation; those made of letters stand between blanks. */
export type Word = (typeof SIGNS)[number] | (typeof PHRASES)[number][0] | (typeof CALLS)[number][0];

const SIGNS = ['==', '!=', '&&', '||', '!', '(', ')', '{', '}', ','] as const;

/** Operators of more than one word may have any white space between the words. */
const PHRASES = [
  ['not in', /not\s+in(?=[\s{])/y],
  ['in', /in(?=[\s{])/y],
  ['contains', /contains(?=[\s'"])/y],
  ['starts with', /starts\s+with(?=[\s'"])/y],
  ['ends with', /ends\s+with(?=[\s'"])/y],
] as const;

const CALLS = [
  ['all()', /all\(\s*\)/y],
  ['global()', /global\(\s*\)/y],
  ['has(', /has\(/y],
] as const;

const LABEL = /[a-zA-Z0-9_./-]+/y;
const BLANK = /\s*/y;

/**
 * Splits a selector into its words. Whether a word is an operator or a label depends on what stands before it: after a
 * label an operator follows, so a label may be called `in` or `contains`.
 *
 * @throws {SyntaxError} At the first character that starts no word, naming its place.
 */
export function tokenize(selector: string): Token[] {
  const tokens: Token[] = [];
  let at = blankEnd(selector, 0);
  while (at < selector.length) {
    const token = nextToken(selector, at, tokens.at(-1));
    tokens.push(token.token);
    at = blankEnd(selector, token.end);
  }
  return tokens;
}

function nextToken(selector: string, at: number, previous: Token | undefined): { token: Token; end: number } {
  const table = previous?.kind === 'label' ? PHRASES : CALLS;
  for (const [text, pattern] of table) {
    const end = match(pattern, selector, at);
    if (end !== undefined) return { token: { kind: 'word', text, at }, end };
  }
  const sign = SIGNS.find((candidate) => selector.startsWith(candidate, at));
  if (sign !== undefined) return { token: { kind: 'word', text: sign, at }, end: at + sign.length };
  const quote = selector[at];
  if (quote === '"' || quote === "'") {
    const close = selector.indexOf(quote, at + 1);
    if (close < 0) throw selectorError(selector, at, 'the quote is not closed');
    return { token: { kind: 'string', text: selector.slice(at + 1, close), at }, end: close + 1 };
  }
  const end = match(LABEL, selector, at);
  if (end === undefined) throw selectorError(selector, at, `${JSON.stringify(quote)} is not expected`);
  return { token: { kind: 'label', text: selector.slice(at, end), at }, end };
}

function match(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}

function blankEnd(text: string, at: number): number {
  return match(BLANK, text, at) ?? at;
}

/** Every refusal of a selector names the place, counted from 1. */
export function selectorError(selector: string, at: number, reason: string): SyntaxError {
  return new SyntaxError(
    `Cannot parse selector: ${reason} at character ${at + 1} (value ${JSON.stringify(selector)})`,
  );
}
