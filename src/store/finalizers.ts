import type { StoredObject } from './kinds/kind.ts';

/** Whether somebody has something to do before the object may go. */
export function isProtected({ metadata }: StoredObject): boolean {
  return (metadata.finalizers ?? []).length > 0;
}

/** Whether it is to be deleted, and nobody has anything to do before. */
export function isOver(object: StoredObject): boolean {
  return object.metadata.deletionTimestamp !== undefined && !isProtected(object);
}

/** The object as whoever protects it finds it: to be deleted, since now or since earlier. */
export function marked<T extends StoredObject>(object: T, now: Date): T {
  const { deletionTimestamp = now.toISOString() } = object.metadata;
  return { ...object, metadata: { ...object.metadata, deletionTimestamp } };
}
