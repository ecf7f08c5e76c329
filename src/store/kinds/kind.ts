import { parseIP, parseIPv4, parseIPv6 } from '../../address/ip.ts';
import { parsePrefix, prefixFamily } from '../../address/prefix.ts';
import { parseSelector } from '../../selector/selector.ts';
import {
  integer,
  isRecord,
  listOf,
  mapOf,
  type Of,
  openObject,
  type Problem,
  parsedBy,
  type Schema,
  text,
} from '../schema.ts';
import { PATTERNS } from './patterns.ts';

/** The API group of the kinds that are Tombolo's own. */
export const TOMBOLO_V1ALPHA1 = 'network.tombolo.dev/v1alpha1';

/** Where Calico keeps the kinds whose names and fields are also ours; objects written for it are welcome. */
export const CALICO_VERSIONS = ['projectcalico.org/v3', 'crd.projectcalico.org/v1'];

export const ip = parsedBy(parseIP, 'an address', PATTERNS.ip);
export const ipv4 = parsedBy(parseIPv4, 'an IPv4 address', PATTERNS.ipv4);
export const ipv6 = parsedBy(parseIPv6, 'an IPv6 address', PATTERNS.ipv6);
export const prefix = parsedBy(parsePrefix, 'a prefix', PATTERNS.prefix);
export const prefix4 = parsedBy((value) => prefixOf(value, 4), 'an IPv4 prefix', PATTERNS.prefix4);
export const prefix6 = parsedBy((value) => prefixOf(value, 6), 'an IPv6 prefix', PATTERNS.prefix6);
/** Calico's language of selectors. */
export const selector = parsedBy(parseSelector, 'a selector');
/** RFC 3339. */
export const timestamp = parsedBy(checkTimestamp, 'a time as RFC 3339 has it', PATTERNS.timestamp);
export const port = integer(1, 65535);
/** RFC 6793: four octets; 0 is reserved (RFC 7607). */
export const asNumber = integer(1, 0xffffffff);
/** RFC 1123 label, as Kubernetes names things. */
export const label = text({
  pattern: /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
  means: 'lower-case letters, digits and hyphens',
  max: 63,
});
/** As the kernel takes it: dev_valid_name of net/core/dev.c. */
export const deviceName = text({ pattern: /^[^/\s:]{1,15}$/, means: 'a device name' });
const subdomain = text({
  pattern: /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
  means: 'lower-case letters, digits, hyphens and dots',
  max: 253,
});

function prefixOf(value: string, family: 4 | 6): void {
  if (prefixFamily(parsePrefix(value)) !== family) throw new SyntaxError('the other family');
}

function checkTimestamp(value: string): void {
  if (!PATTERNS.timestamp.test(value) || Number.isNaN(Date.parse(value))) throw new SyntaxError('it is none');
}

const metadata = openObject(
  { name: subdomain },
  {
    namespace: label,
    uid: text(),
    resourceVersion: text(),
    generation: integer(0, Number.MAX_SAFE_INTEGER),
    creationTimestamp: text(),
    deletionTimestamp: text(),
    labels: mapOf(text()),
    annotations: mapOf(text()),
    finalizers: listOf(text()),
    ownerReferences: listOf(openObject({ kind: text(), name: text() }, { uid: text(), apiVersion: text() })),
  },
);

export type Metadata = Of<typeof metadata>;

/** What every object has, whatever its kind. */
export interface StoredObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
}

/** A condition as Kubernetes writes it (`metav1.Condition`). */
export const conditions = listOf(
  openObject(
    { type: text(), status: text() },
    {
      reason: text(),
      message: text(),
      lastTransitionTime: text(),
      observedGeneration: integer(0, 2 ** 53 - 1),
    },
  ),
);

/** `{matchLabels, matchExpressions}`: `metav1.LabelSelector`. */
export const labelSelector = openObject(
  {},
  {
    matchLabels: mapOf(text()),
    matchExpressions: listOf(openObject({ key: text(), operator: text() }, { values: listOf(text()) })),
  },
);

/** A column of `tombolo get`: its heading, what stands under it, and where `kubectl get` finds the same, if it can. */
export type Column<T> = readonly [heading: string, cell: (object: T) => unknown, jsonPath?: string];

export interface KindDefinition<Name extends string, Body> {
  readonly kind: Name;
  readonly apiVersion: string;
  /** What `kubectl explain` says of a kind of ours. */
  readonly description?: string;
  /** Also accepted in what people write, and stored as {@link apiVersion}. */
  readonly otherVersions?: readonly string[];
  /** As in the API's path: `bgppeers`. */
  readonly plural: string;
  readonly shortNames?: readonly string[];
  readonly namespaced: boolean;
  /** Fields that the Kubernetes API selects objects by, beside name and namespace. */
  readonly selectable?: readonly string[];
  /** Everything but `apiVersion`, `kind` and `metadata`. */
  readonly body: Schema<Body>;
  /** What no single field can say. Called only for objects that fit {@link body}. */
  readonly rules?: (object: StoredObject & Body) => Problem[];
  /**
   * What an object says that Calico acts upon and nobody does here: by field of the spec, what holds instead. Accepted, so that
   * objects written for Calico may be taken as they are; said, so that nobody relies on it.
   */
  readonly unheeded?: (object: StoredObject & Body) => Readonly<Record<string, string>>;
  readonly columns?: readonly Column<StoredObject & Body>[];
}

/** Those of the fields that are written, with what is said of them. */
export function written<Spec, Field extends keyof Spec & string>(
  spec: Spec,
  instead: { readonly [F in Field]: string },
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries<string>(instead).filter(([field]) => spec[field as Field] !== undefined),
  );
}

/** What the object says that has no effect, and what holds instead: a line each, for people. */
export function unheededIn<Body>(
  { kind, unheeded }: KindDefinition<string, Body>,
  object: StoredObject & Body,
): string[] {
  return Object.entries(unheeded?.(object) ?? {}).map(
    ([field, instead]) => `${kind} ${object.metadata.name}: spec.${field} has no effect: ${instead}`,
  );
}

/** Holds a definition to its type and passes it on. */
export function defineKind<const Name extends string, Body>(
  definition: KindDefinition<Name, Body>,
): KindDefinition<Name, Body> {
  return definition;
}

/** What is wrong with `value` as an object of this kind; nothing, if it is one. */
export function problemsOf<Body>(definition: KindDefinition<string, Body>, value: unknown): Problem[] {
  if (!isRecord(value)) return [{ path: '', reason: 'expected an object', value }];
  const { apiVersion, kind: _, metadata: meta, ...body } = value;
  const problems: Problem[] = [];
  const versions = [definition.apiVersion, ...(definition.otherVersions ?? [])];
  if (!versions.includes(String(apiVersion))) {
    problems.push({ path: 'apiVersion', reason: `expected ${versions.join(' or ')}`, value: apiVersion });
  }
  metadata.check(meta, 'metadata', problems);
  if (isRecord(meta)) {
    if (definition.namespaced && meta.namespace == null) {
      problems.push({ path: 'metadata.namespace', reason: 'is required' });
    }
    if (!definition.namespaced && meta.namespace != null) {
      problems.push({
        path: 'metadata.namespace',
        reason: `${definition.kind} has no namespace`,
        value: meta.namespace,
      });
    }
  }
  definition.body.check(body, '', problems);
  if (problems.length > 0) return problems;
  return definition.rules?.(value as unknown as StoredObject & Body) ?? [];
}
