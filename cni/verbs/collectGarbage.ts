import { messageOf } from '../../src/errors.ts';
import type { CallOf } from '../answer.ts';
import type { Node } from '../node.ts';
import { CniError, CODE } from '../protocol/error.ts';
import { ownerOf, sourceOf } from '../source.ts';
import { takeBack } from './del.ts';

/**
 * GC: removes every attachment of the network that the runtime does not list. One that resists does not keep
 * the others; all failures are reported together at the end.
 */
export async function collectGarbage(call: CallOf<'GC'>, node: Node): Promise<undefined> {
  const { network, validAttachments: valid } = call.configuration;
  if (valid === undefined) {
    throw new CniError(
      CODE.invalidConfiguration,
      'Cannot collect garbage: "cni.dev/valid-attachments" is missing, and no list is not an empty list',
    );
  }
  const isValid = (containerID: string, ifName: string) =>
    valid.some((key) => key.containerID === containerID && key.ifName === ifName);
  const { records } = node.records.list();
  const failures: string[] = [];
  const attempt = async (what: string, work: () => Promise<void>) => {
    await work().catch((error: unknown) => failures.push(`${what}: ${messageOf(error)}`));
  };

  for (const record of records) {
    const { spec } = record;
    if (spec.network !== network || isValid(spec.containerId, spec.ifName)) continue;
    node.log.info('Removing an attachment the runtime no longer knows', { ...ownerOf(record) });
    await attempt(`${spec.ifName} of ${spec.containerId}`, () =>
      node.turns.take(spec.id, () => takeBack(record, call, node)),
    );
  }
  await attempt('addresses', () => sourceOf(call, node).collect(network, valid));
  if (failures.length > 0) {
    throw new CniError(
      CODE.failed,
      `Cannot collect all garbage: ${failures.length} left`,
      failures.join('\n'),
    );
  }
}
