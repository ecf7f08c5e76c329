import { type Of, openObject, text } from '../schema.ts';
import { defineKind, type StoredObject } from './kind.ts';

const body = openObject({}, { spec: openObject({}, {}), status: openObject({}, { phase: text() }) });

export const namespace = defineKind({
  kind: 'Namespace',
  apiVersion: 'v1',
  plural: 'namespaces',
  shortNames: ['ns'],
  namespaced: false,
  body,
  columns: [['STATUS', ({ status }) => status?.phase ?? 'Active']],
});

export type Namespace = StoredObject & Of<typeof body>;
