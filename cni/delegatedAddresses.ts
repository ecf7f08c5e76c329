import { formatIP } from '../src/address/ip.ts';
import { because } from '../src/errors.ts';
import type { AddressOwner, AddressSource } from './addresses.ts';
import { type Delegation, delegate, findPlugin, newestCommon } from './delegate.ts';
import type { Variables } from './protocol/environment.ts';
import { CniError, CODE } from './protocol/error.ts';
import type { JsonObject } from './protocol/members.ts';
import { parseResult } from './protocol/result.ts';
import { NEWEST, type Verb } from './protocol/version.ts';

/** The call that is being served, of which a delegated plugin is told everything. */
export interface Caller {
  readonly path: readonly string[];
  readonly variables: Variables;
}

/**
 * Addresses from the plugin that `ipam.type` names (`host-local`, `dhcp`, `static`, …). It gets the configuration
 * as it came, so that requested addresses and its own settings reach it, and the variables of the call.
 */
export function delegatedAddresses(type: string, json: JsonObject, caller: Caller): AddressSource {
  const call = (owner?: AddressOwner): Delegation => ({
    type,
    path: caller.path,
    variables: owner
      ? { ...caller.variables, CNI_CONTAINERID: owner.containerID, CNI_IFNAME: owner.ifName }
      : caller.variables,
    json,
  });
  const run = (verb: Verb, owner?: AddressOwner) => delegate(verb, call(owner));

  return {
    async allocate({ owner }) {
      try {
        const { ips, routes, dns } = parseResult((await run('ADD', owner)) ?? {});
        if (ips.length === 0) throw new CniError(CODE.failed, `${type} ADD: it gave no address`);
        return { ips, routes, dns };
      } catch (error) {
        // Specification, section 4: when the plugin fails, its caller runs DEL before reporting the failure.
        await run('DEL', owner).catch(() => {});
        throw error;
      }
    },

    async release(owner) {
      await run('DEL', owner);
    },

    async check(owner, ips) {
      await run('CHECK', owner).catch((error: unknown) => {
        throw because(`confirm ${ips.map(formatIP).join(', ')}`, error);
      });
    },

    async collect() {
      if (await speaksNewest(call())) await run('GC');
    },

    async status() {
      try {
        await findPlugin(type, caller.path);
      } catch (error) {
        throw new CniError(CODE.notAvailable, 'Cannot give out addresses', { cause: error });
      }
      if (await speaksNewest(call())) await run('STATUS');
    },
  };
}

/** GC and STATUS came with 1.1.0: an older plugin has nothing to do for them. */
async function speaksNewest(call: Delegation): Promise<boolean> {
  return (await newestCommon(call)) === NEWEST;
}
