import { attachmentId } from '../src/attach/attachment.ts';
import type { Call } from './answer.ts';
import type { Node } from './node.ts';
import type { AttachmentKey } from './protocol/environment.ts';
import type { JsonObject } from './protocol/members.ts';
import { sourceOf } from './source.ts';
import { add } from './verbs/add.ts';
import { check } from './verbs/check.ts';
import { collectGarbage } from './verbs/collectGarbage.ts';
import { del } from './verbs/del.ts';

/**
 * Serves a verb on a node. The agent and the bundle run this same code; what differs is the {@link Node}.
 *
 * @returns What is to be printed: a result after ADD, nothing after the others.
 * @throws {CniError} Where the runtime tells errors apart by their code; any other error means code 100.
 */
export async function serve(call: Call, node: Node): Promise<JsonObject | undefined> {
  const { environment, configuration } = call;
  for (const member of configuration.unknown) {
    node.log.warning('The network configuration has a member that means nothing', { member });
  }
  switch (environment.verb) {
    case 'ADD':
      return await inTurn(environment, () => add({ ...call, environment }, node));
    case 'DEL':
      return await inTurn(environment, () => del({ ...call, environment }, node));
    case 'CHECK':
      return await inTurn(environment, () => check({ ...call, environment }, node));
    case 'GC':
      return await collectGarbage({ ...call, environment }, node);
    case 'STATUS':
      await node.status();
      await sourceOf(call, node).status(configuration.network);
      return undefined;
  }

  function inTurn<T>({ containerID, ifName }: AttachmentKey, work: () => Promise<T>): Promise<T> {
    return node.turns.take(attachmentId(containerID, ifName), work);
  }
}
