import { formatIP } from '../address/ip.ts';
import type { Log } from '../log.ts';
import type { Change } from '../store/follow.ts';
import { internalIPs, type Node } from '../store/kinds/node.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { NodeFacts } from './detect.ts';

/**
 * Notices another machine under the name of this one, by a clone or a typo: both take the same segments for theirs. Nobody can know
 * which of the two is meant, nor whether a machine has only been given another address, so it is told, and neither ends.
 */
export class NameClash {
  readonly #node: Pick<NodeFacts, 'name' | 'ips'>;
  readonly #log: Log;
  /** All that this node has been called since it was first seen to be. */
  readonly #own = new Set<string>();
  #other: string | undefined;
  #object: string | undefined;

  constructor(node: Pick<NodeFacts, 'name' | 'ips'>, log: Log) {
    this.#node = node;
    this.#log = log;
  }

  /** Whose status is it that the store has? Only after our own: what stands there before may be of an earlier life. */
  onNetwork(change: Change<NodeNetwork>): void {
    if (change.type !== 'applied' || change.object.metadata.name !== this.#node.name) return;
    const said = change.object.status?.nodeIPs ?? [];
    const ours = this.#node.ips.map(formatIP);
    if (said.some((address) => ours.includes(address)))
      for (const one of [...said, ...ours]) this.#own.add(one);
    if (this.#other !== undefined || this.#own.size === 0 || said.length === 0) return;
    if (said.some((address) => this.#own.has(address))) return;
    this.#other = `${said.join(', ')} goes by the name ${this.#node.name}, too: two machines may give out one address twice, so give each a nodeName of its own`;
    this.#log.error('another agent writes the status of this node', { problem: this.#other });
  }

  onNode(change: Change<Node>): void {
    if (change.type !== 'applied' && change.type !== 'replaced') return;
    const objects = change.type === 'replaced' ? change.objects : [change.object];
    const { name, ips } = this.#node;
    const own = objects.find(({ metadata }) => metadata.name === name);
    if (own === undefined) return;
    const said = internalIPs(own);
    const ours = ips.map(formatIP);
    const agrees = said.length === 0 || ours.length === 0 || said.some((address) => ours.includes(address));
    this.#object = agrees
      ? undefined
      : `the Node ${name} names ${said.join(', ')} and none of this node's addresses, ${ours.join(', ')}: nodeIP may be wrong, or another machine has this name`;
  }

  /** A line each, for people. */
  problems(): string[] {
    return [this.#other, this.#object].filter((problem) => problem !== undefined);
  }
}
