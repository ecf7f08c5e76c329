import type { Follower } from '../src/attach/attachment.ts';
import type { AttachmentRecord } from '../src/attach/record.ts';
import { messageOf } from '../src/errors.ts';
import { type Delegation, delegate, findPlugin } from './delegate.ts';
import { type Configuration, unsupported } from './protocol/configuration.ts';
import type { AttachmentKey, Variables } from './protocol/environment.ts';
import type { JsonObject } from './protocol/members.ts';
import { formatResult, parseResult, type Result } from './protocol/result.ts';
import type { Verb, Version } from './protocol/version.ts';

/**
 * Host ports and rates are the trade of two reference plugins. Where a runtime hands these capabilities to
 * Tombolo, instead of to those plugins further down the list, Tombolo runs them behind itself.
 */
const PLUGINS = {
  portMappings: { type: 'portmap', snat: true },
  bandwidth: { type: 'bandwidth' },
} as const;

/** The call that is being served. */
interface Caller {
  readonly path: readonly string[];
  readonly variables: Variables;
}

/**
 * The plugins to run behind this one.
 *
 * @throws {CniError} Code 2, if one is not installed: what is asked for and not done would be missed much later.
 */
export async function followersOf(
  { network, capabilities }: Configuration,
  version: Version,
  { path }: Caller,
): Promise<Follower[]> {
  const followers: Follower[] = [];
  for (const capability of ['portMappings', 'bandwidth'] as const) {
    const value = capabilities[capability];
    if (value === undefined || ('length' in value && value.length === 0)) continue;
    const plugin = PLUGINS[capability];
    await findPlugin(plugin.type, path).catch((error: unknown) => {
      throw unsupported(`runtimeConfig.${capability}`, value, messageOf(error));
    });
    const config = { cniVersion: version, name: network, ...plugin, runtimeConfig: { [capability]: value } };
    followers.push({ type: plugin.type, config });
  }
  return followers;
}

/** Runs them in order, each on the result of the one before; undoing them is left to the caller. */
export async function addFollowers(
  followers: readonly Follower[],
  result: Result,
  version: Version,
  caller: Caller,
): Promise<Result> {
  let latest = result;
  for (const follower of followers) {
    const answer = await run('ADD', follower, caller, { prevResult: formatResult(latest, version) });
    if (answer !== undefined) latest = parseResult(answer);
  }
  return latest;
}

/** @throws {CniError} The first complaint. */
export async function checkFollowers(
  { spec }: AttachmentRecord,
  prevResult: JsonObject,
  caller: Caller,
): Promise<void> {
  for (const follower of spec.followers ?? []) await run('CHECK', follower, caller, { prevResult });
}

/** Last one first. Idempotent, as their DEL is. */
export async function deleteFollowers(
  followers: readonly Follower[] = [],
  { containerID, ifName }: AttachmentKey,
  caller: Caller,
): Promise<void> {
  const variables = { ...caller.variables, CNI_CONTAINERID: containerID, CNI_IFNAME: ifName };
  for (const follower of followers.toReversed()) await run('DEL', follower, { ...caller, variables });
}

function run(verb: Verb, { type, config }: Follower, { path, variables }: Caller, more: JsonObject = {}) {
  const call: Delegation = { type, path, variables, json: { ...config, ...more } };
  return delegate(verb, call);
}
