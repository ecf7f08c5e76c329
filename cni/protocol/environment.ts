import { CniError, CODE } from './error.ts';
import { VERBS, type Verb } from './version.ts';

/** The variables of one call, by name: `process.env`, or the headers the launcher made of it. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** What names an attachment within its network: the runtime never adds the same pair twice. */
export interface AttachmentKey {
  readonly containerID: string;
  readonly ifName: string;
}

interface Delegating {
  /** `CNI_PATH`: the directories in which delegated plugins are looked up. */
  readonly path: readonly string[];
  /** All `CNI_*` variables, for delegated plugins. */
  readonly variables: Variables;
}

interface OfAttachment extends Delegating, AttachmentKey {
  readonly args: Args;
}

interface InNamespace extends OfAttachment {
  /** Path of the pod's network namespace. */
  readonly netns: string;
  /** The runtime insists that the namespace may be the plugin's own (`CNI_NETNS_OVERRIDE`). */
  readonly netnsOverride: boolean;
}

/** The environment of one call, checked. */
export type Environment =
  | { readonly verb: 'VERSION' }
  | (Delegating & { readonly verb: 'GC' })
  | (Delegating & { readonly verb: 'STATUS' })
  | (OfAttachment & { readonly verb: 'DEL'; readonly netns: string | undefined })
  | (InNamespace & { readonly verb: 'ADD' })
  | (InNamespace & { readonly verb: 'CHECK' });

/** `CNI_ARGS`, by key. */
export type Args = ReadonlyMap<string, string>;

const ATTACHMENT = ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'] as const;

/** CNI specification 1.1.0, section 2: the parameters each operation requires. */
const REQUIRED: Record<Verb, readonly string[]> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ATTACHMENT,
  GC: ['CNI_PATH'],
  STATUS: ['CNI_PATH'],
  VERSION: [],
};

/**
 * Reads the environment of a call.
 *
 * @throws {CniError} Code 4, naming every variable that is missing, or the one that is wrong.
 */
export function parseEnvironment(all: Variables): Environment {
  const variables = Object.fromEntries(Object.entries(all).filter(([name]) => name.startsWith('CNI_')));
  const verb = parseVerb(variables.CNI_COMMAND);
  const missing = REQUIRED[verb].filter((name) => !variables[name]);
  if (missing.length > 0) throw invalid(`Cannot ${verb}: ${missing.join(', ')} not set`);
  if (verb === 'VERSION') return { verb };

  const call = { path: (variables.CNI_PATH ?? '').split(':').filter(Boolean), variables };
  if (verb === 'GC' || verb === 'STATUS') return { verb, ...call };

  const containerID = parseContainerID(variables.CNI_CONTAINERID ?? '');
  const ifName = parseIfName(variables.CNI_IFNAME ?? '');
  if (verb === 'DEL') {
    const netns = variables.CNI_NETNS?.startsWith('/') ? variables.CNI_NETNS : undefined;
    return { verb, ...withoutBadArgs(call), containerID, ifName, netns };
  }
  const netns = variables.CNI_NETNS ?? '';
  // The launcher's directory is not the agent's: a relative path would mean another file there.
  if (!netns.startsWith('/')) {
    throw invalid(`Cannot ${verb}: CNI_NETNS must be an absolute path (value ${JSON.stringify(netns)})`);
  }
  const netnsOverride = /^(true|1)$/i.test(variables.CNI_NETNS_OVERRIDE ?? '');
  const args = parseArgs(variables.CNI_ARGS);
  return { verb, ...call, containerID, ifName, netns, netnsOverride, args };
}

function parseVerb(text: string | undefined): Verb {
  const verb = VERBS.find((known) => known === text);
  if (verb !== undefined) return verb;
  throw invalid(
    text
      ? `Cannot run CNI_COMMAND ${JSON.stringify(text)}: it must be one of ${VERBS.join(', ')}`
      : `Cannot run: CNI_COMMAND not set`,
  );
}

/** Container IDs and network names share one rule (specification, sections 1 and 2). */
export const IDENTIFIER = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

export function parseContainerID(text: string): string {
  if (IDENTIFIER.test(text)) return text;
  throw invalid(
    `Cannot read CNI_CONTAINERID: it must begin with a letter or digit and hold only letters, digits, "_", "." and "-" (value ${JSON.stringify(text)})`,
  );
}

/** Linux's own rule, `dev_valid_name()`: fewer than 16 bytes, no slash, colon or white space. */
export function parseIfName(text: string): string {
  const valid =
    text !== '' && text !== '.' && text !== '..' && Buffer.byteLength(text) < 16 && !/[/:\s\0]/.test(text);
  if (valid) return text;
  throw invalid(
    `Cannot read CNI_IFNAME: it must be 1 to 15 bytes without "/", ":" and white space, and not "." or ".." (value ${JSON.stringify(text)})`,
  );
}

/** Reads `FOO=BAR;ABC=123`. */
function parseArgs(text = ''): Args {
  const pairs = text.split(';').filter((pair) => pair.trim() !== '');
  return new Map(
    pairs.map((pair) => {
      const equals = pair.indexOf('=');
      if (equals <= 0) {
        throw invalid(`Cannot read CNI_ARGS: expected KEY=VALUE pairs (value ${JSON.stringify(pair)})`);
      }
      return [pair.slice(0, equals).trim(), pair.slice(equals + 1).trim()];
    }),
  );
}

/**
 * The ADD that was refused for its arguments is followed by a DEL with the same ones, for which neither this plugin
 * nor a delegated one needs them.
 */
function withoutBadArgs(call: Delegating): Delegating & { args: Args } {
  try {
    return { ...call, args: parseArgs(call.variables.CNI_ARGS) };
  } catch {
    const { CNI_ARGS: _, ...variables } = call.variables;
    return { ...call, variables, args: new Map() };
  }
}

function invalid(message: string): CniError {
  return new CniError(CODE.invalidEnvironment, message);
}
