import { attachmentId } from '../../src/attach/attachment.ts';
import { messageOf } from '../../src/errors.ts';
import type { CallOf } from '../answer.ts';
import type { Node } from '../node.ts';
import { CniError, CODE } from '../protocol/error.ts';
import { ownerOf, sourceOf } from '../source.ts';
import { takeBack } from './del.ts';

/**
 * GC: removes every attachment of the network that the runtime does not list. One that resists does not keep
 * the others; all failures are reported together at the end. What is added meanwhile is younger than the list.
 */
export function collectGarbage(call: CallOf<'GC'>, node: Node): Promise<undefined> {
  return node.turns.watching((busy) => collect(call, node, busy));
}

async function collect(call: CallOf<'GC'>, node: Node, busy: ReadonlySet<string>): Promise<undefined> {
  const { network, validAttachments: valid } = call.configuration;
  if (valid === undefined) {
    throw new CniError(
      CODE.invalidConfiguration,
      'Cannot collect garbage: "cni.dev/valid-attachments" is missing, and no list is not an empty list',
    );
  }
  const listed = new Set(valid.map(({ containerID, ifName }) => attachmentId(containerID, ifName)));
  const isValid = (id: string) => listed.has(id) || busy.has(id);
  const { records } = node.records.list();
  const failures: string[] = [];
  const attempt = async (what: string, work: () => Promise<void>) => {
    await work().catch((error: unknown) => failures.push(`${what}: ${messageOf(error)}`));
  };

  for (const record of records) {
    const { spec } = record;
    if (spec.network !== network || isValid(spec.id)) continue;
    node.log.info('Removing an attachment the runtime no longer knows', { ...ownerOf(record) });
    await attempt(`${spec.ifName} of ${spec.containerId}`, () =>
      node.turns.take(spec.id, () => takeBack(record, call, node)),
    );
  }
  await attempt('addresses', () =>
    sourceOf(call, node).collect(network, ({ containerID, ifName }) =>
      isValid(attachmentId(containerID, ifName)),
    ),
  );
  if (failures.length > 0) {
    throw new CniError(
      CODE.failed,
      `Cannot collect all garbage: ${failures.length} left`,
      failures.join('\n'),
    );
  }
}
