// What the API server is told of our texts, which it knows by regular expressions alone: all that our parsers take, and of
// what they refuse the larger part. Only syntax that Go's RE2 has, too.

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const V4 = `${OCTET}([.]${OCTET}){3}`;
/** An embedded IPv4 address may end it; how many groups there are, only the parser counts. */
const V6 = `[0-9a-fA-F:]*:([0-9a-fA-F:]*|${V4})`;
const PREFIX_4 = `${V4}/(3[0-2]|[12]?[0-9])`;
const PREFIX_6 = `${V6}/(12[0-8]|1[01][0-9]|[1-9]?[0-9])`;
const PORT = '[0-9]{1,5}';

export const PATTERNS = {
  ip: whole(V4, V6),
  ipv4: whole(V4),
  ipv6: whole(V6),
  prefix: whole(PREFIX_4, PREFIX_6),
  prefix4: whole(PREFIX_4),
  prefix6: whole(PREFIX_6),
  community: whole('[0-9]{1,5}:[0-9]{1,5}', '[0-9]{1,10}(:[0-9]{1,10}){2}'),
  timestamp: /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$/,
  duration: /^([0-9]+([.][0-9]+)?(h|ms|m|s))+$/,
  addressAndPort: whole(`${V4}(:${PORT})?`, V6, `\\[(${V4}|${V6})\\](:${PORT})?`),
} as const;

function whole(...forms: string[]): RegExp {
  return new RegExp(`^(${forms.join('|')})$`);
}
