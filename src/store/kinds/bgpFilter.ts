import { integer, listOf, type Of, object, oneOf, type Problem, type Schema, text } from '../schema.ts';
import { communityText } from './bgpValues.ts';
import {
  asNumber,
  CALICO_VERSIONS,
  defineKind,
  prefix4,
  prefix6,
  type StoredObject,
  TOMBOLO_V1ALPHA1,
} from './kind.ts';

function rule(cidr: Schema<string>, longest: number) {
  return object(
    { action: oneOf('Accept', 'Reject') },
    {
      cidr,
      prefixLength: object({}, { min: integer(0, longest), max: integer(0, longest) }),
      matchOperator: oneOf('Equal', 'NotEqual', 'In', 'NotIn'),
      source: oneOf('RemotePeers'),
      /** A device name; `*` stands for any run of characters. */
      interface: text({ max: 15 }),
      peerType: oneOf('eBGP', 'iBGP'),
      communities: object({ values: listOf(communityText, { min: 1, max: 1 }) }, {}),
      asPathPrefix: listOf(asNumber),
      priority: integer(1, 0x7fffffff),
      operations: listOf(
        object(
          {},
          {
            addCommunity: object({ value: communityText }, {}),
            prependASPath: object({ prefix: listOf(asNumber, { min: 1, max: 10 }) }, {}),
            setPriority: object({ value: integer(1, 0x7fffffff) }, {}),
          },
        ),
      ),
    },
  );
}

const rules4 = listOf(rule(prefix4, 32));
const rules6 = listOf(rule(prefix6, 128));

const body = object(
  { spec: object({}, { exportV4: rules4, importV4: rules4, exportV6: rules6, importV6: rules6 }) },
  {},
);

/** Which routes a peering sends and takes: the first rule that matches decides. */
export const bgpFilter = defineKind({
  kind: 'BGPFilter',
  apiVersion: TOMBOLO_V1ALPHA1,
  otherVersions: CALICO_VERSIONS,
  description: 'Which routes a peering sends and takes: the first rule that matches decides.',
  plural: 'bgpfilters',
  namespaced: false,
  body,
  rules: ({ spec }) =>
    (['exportV4', 'importV4', 'exportV6', 'importV6'] as const).flatMap((list) =>
      (spec[list] ?? []).flatMap((rule, index) => ruleProblems(rule, `spec.${list}[${index}]`)),
    ),
  columns: [
    ['EXPORT', ({ spec }) => (spec.exportV4?.length ?? 0) + (spec.exportV6?.length ?? 0)],
    ['IMPORT', ({ spec }) => (spec.importV4?.length ?? 0) + (spec.importV6?.length ?? 0)],
  ],
});

export type BGPFilter = StoredObject & Of<typeof body>;
export type BGPFilterRule = Of<ReturnType<typeof rule>>;

function ruleProblems(rule: BGPFilterRule, path: string): Problem[] {
  const problems: Problem[] = [];
  if ((rule.cidr === undefined) !== (rule.matchOperator === undefined)) {
    problems.push({ path: `${path}.matchOperator`, reason: 'is required with cidr, and only with it' });
  }
  if (rule.prefixLength && rule.cidr === undefined) {
    problems.push({ path: `${path}.prefixLength`, reason: 'expected a cidr beside it' });
  }
  const { min = 0, max = Number.POSITIVE_INFINITY } = rule.prefixLength ?? {};
  if (max < min) {
    problems.push({
      path: `${path}.prefixLength.max`,
      reason: `is less than min, which is ${min}`,
      value: max,
    });
  }
  if (rule.operations?.length && rule.action !== 'Accept') {
    problems.push({ path: `${path}.operations`, reason: 'expected the action Accept', value: rule.action });
  }
  for (const [index, operation] of (rule.operations ?? []).entries()) {
    const named = Object.keys(operation);
    if (named.length !== 1) {
      problems.push({
        path: `${path}.operations[${index}]`,
        reason: 'expected exactly one operation',
        value: named,
      });
    }
  }
  return problems;
}
