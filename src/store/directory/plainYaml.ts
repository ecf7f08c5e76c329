const NOT_PLAIN = Symbol('not plain');

/**
 * The plain part of YAML, nearly all of what stands in a store: block mappings and sequences of scalars on one line each, as
 * `stringify` writes them, and JSON. The library takes many times as long, and a store has tens of thousands of files. It is no
 * dialect: what is not plain is left to the library, to read or to refuse, and of what is plain both say the same.
 *
 * @returns Undefined where the text is not plain.
 */
export function parsePlain(text: string): unknown {
  try {
    return text.startsWith('{') ? parseJson(text) : parseBlocks(text);
  } catch (error) {
    if (error === NOT_PLAIN || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** All of JSON is YAML, but for tabs, which YAML does not indent by, and keys that stand twice, of which in JSON the last one counts. */
function parseJson(text: string): unknown {
  if (/[\t\r]/.test(text)) notPlain();
  const value: unknown = JSON.parse(text);
  const keys = [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter(([, colon]) => colon !== undefined);
  return keys.length === countKeys(value) ? value : notPlain();
}

function countKeys(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const inner = Object.values(value).reduce((sum: number, one) => sum + countKeys(one), 0);
  return Array.isArray(value) ? inner : inner + Object.keys(value).length;
}

/** `  - key: text`: where it stands, and what it says. */
interface Line {
  readonly indent: number;
  readonly isItem: boolean;
  readonly key: string | undefined;
  readonly text: string | undefined;
}

const LINE = /^( *)(- )?(?:([A-Za-z_][\w./-]*):(?: (.+))?|(.+))$/;

function lineOf(line: string): Line {
  const match = LINE.exec(line) ?? notPlain();
  const [, spaces = '', dash, key, value, item] = match;
  if (key === undefined && dash === undefined) notPlain();
  if (key !== undefined && (SPECIAL.has(key) || key === '__proto__')) notPlain();
  return { indent: spaces.length, isItem: dash !== undefined, key, text: key === undefined ? item : value };
}

/** Lines, and how many of them have been read. */
interface Cursor {
  readonly lines: Line[];
  at: number;
}

function parseBlocks(text: string): unknown {
  const lines = text.replace(/\n$/, '').split('\n').map(lineOf);
  const cursor = { lines, at: 0 };
  const value = block(cursor, 0);
  return cursor.at === lines.length ? value : notPlain();
}

function block(cursor: Cursor, indent: number): unknown {
  const value = cursor.lines[cursor.at]?.isItem ? sequence(cursor, indent) : mapping(cursor, indent);
  const next = cursor.lines[cursor.at];
  return next === undefined || next.indent < indent ? value : notPlain();
}

function mapping(cursor: Cursor, indent: number): Record<string, unknown> {
  const { lines } = cursor;
  const value: Record<string, unknown> = {};
  for (let line = lines[cursor.at]; line?.indent === indent && !line.isItem; line = lines[cursor.at]) {
    const { key = notPlain(), text } = line;
    if (Object.hasOwn(value, key)) notPlain();
    cursor.at++;
    value[key] = text === undefined ? beneath(cursor, indent) : scalar(text);
  }
  return value;
}

/** What belongs to a key that has nothing on its own line. Items may stand as far to the left as the key. */
function beneath(cursor: Cursor, indent: number): unknown {
  const next = cursor.lines[cursor.at];
  if (next === undefined || next.indent < indent) return null;
  if (next.indent > indent) return block(cursor, next.indent);
  return next.isItem ? sequence(cursor, indent) : null;
}

function sequence(cursor: Cursor, indent: number): unknown[] {
  const { lines } = cursor;
  const value: unknown[] = [];
  for (let line = lines[cursor.at]; line?.indent === indent && line.isItem; line = lines[cursor.at]) {
    if (line.key === undefined) {
      cursor.at++;
      value.push(scalar(line.text ?? notPlain()));
    } else {
      // The first key of a mapping stands where the others do, behind the dash.
      lines[cursor.at] = { ...line, indent: indent + 2, isItem: false };
      value.push(block(cursor, indent + 2));
    }
  }
  return value;
}

const SPECIAL: ReadonlyMap<string, boolean | null> = new Map(
  (['null', 'true', 'false'] as const).flatMap((word) => {
    const value = { null: null, true: true, false: false }[word];
    const capital = word.charAt(0).toUpperCase() + word.slice(1);
    return [word, capital, word.toUpperCase()].map((spelling): [string, boolean | null] => [spelling, value]);
  }),
);

const QUOTED = /^(?:"[ !#-[\]-~]*"|'[ -&(-~]*')$/;
/** Words between single blanks: no colon before a blank or at the end, no hash, nothing that indicates anything else. */
const PLAIN =
  /^[A-Za-z0-9_/](?:[\w./:+@=(),*-]*[\w./+@=(),*-])?(?: [A-Za-z0-9_/(](?:[\w./:+@=(),*-]*[\w./+@=(),*-])?)*$/;
const NUMERIC = /^[0-9.eE+-]+$|^0[xo]/;
const INTEGER = /^(?:0|[1-9]\d{0,14})$/;
const DOTTED = /^\d+(?:\.\d+){2,}$/;

function scalar(text: string): unknown {
  if (QUOTED.test(text)) return text.slice(1, -1);
  if (text === '{}') return {};
  if (text === '[]') return [];
  if (!PLAIN.test(text)) return notPlain();
  const special = SPECIAL.get(text);
  if (special !== undefined) return special;
  if (!NUMERIC.test(text) || DOTTED.test(text)) return text;
  return INTEGER.test(text) ? Number(text) : notPlain();
}

function notPlain(): never {
  throw NOT_PLAIN;
}
