import type { AddressSource } from './addresses.ts';
import { CniError, CODE } from './protocol/error.ts';
import type { Released } from './released.ts';

/**
 * The agent's addresses while no agent runs: none are given out, what comes back is noted for when it starts,
 * and nothing can be said about those that are held.
 *
 * @param agentSocket Where the agent was looked for, for the message.
 */
export function absentAgent(agentSocket: string, released: Released): AddressSource {
  return {
    async allocate() {
      throw new CniError(
        CODE.tryAgainLater,
        `Cannot give out an address: no agent answers on ${agentSocket}`,
      );
    },
    async release(owner) {
      released.add(owner);
    },
    async check() {},
    async collect() {},
    async status() {
      throw new CniError(CODE.notAvailable, `Cannot attach pods: no agent answers on ${agentSocket}`);
    },
  };
}
