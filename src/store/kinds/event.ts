import { integer, type Of, openObject, text } from '../schema.ts';
import { defineKind, type StoredObject } from './kind.ts';

const body = openObject(
  { involvedObject: openObject({ kind: text(), name: text() }, { namespace: text(), uid: text() }) },
  {
    reason: text(),
    message: text(),
    /** `Normal` or `Warning`. */
    type: text(),
    count: integer(0, 2 ** 31 - 1),
    /** RFC 3339. */
    firstTimestamp: text(),
    lastTimestamp: text(),
    source: openObject({}, { component: text(), host: text() }),
    reportingComponent: text(),
    reportingInstance: text(),
  },
);

/** What happened to an object, for people: `kubectl describe` shows it there. */
export const event = defineKind({
  kind: 'Event',
  apiVersion: 'v1',
  plural: 'events',
  shortNames: ['ev'],
  namespaced: true,
  selectable: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'reason',
    'type',
  ],
  body,
  columns: [
    ['LAST-SEEN', ({ lastTimestamp }) => lastTimestamp],
    ['TYPE', ({ type }) => type],
    ['REASON', ({ reason }) => reason],
    ['OBJECT', ({ involvedObject: { kind, name } }) => `${kind.toLowerCase()}/${name}`],
    ['COUNT', ({ count }) => count ?? 1],
    ['MESSAGE', ({ message }) => message],
  ],
});

export type Event = StoredObject & Of<typeof body>;
