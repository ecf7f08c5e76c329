import { integer, type Of, openObject } from '../schema.ts';
import { defineKind, type StoredObject } from './kind.ts';

const count = integer(0, 2 ** 31 - 1);

const body = openObject(
  {},
  { spec: openObject({}, { replicas: count, ordinals: openObject({}, { start: count }) }) },
);

/** A workload whose pods have names that last: read by who keeps their addresses. */
export const statefulSet = defineKind({
  kind: 'StatefulSet',
  apiVersion: 'apps/v1',
  plural: 'statefulsets',
  shortNames: ['sts'],
  namespaced: true,
  body,
  columns: [['REPLICAS', ({ spec }) => spec?.replicas ?? 1]],
});

export type StatefulSet = StoredObject & Of<typeof body>;
