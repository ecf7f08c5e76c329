/**
 * The file a worker thread of this program begins with, in a run from the source tree. The build replaces this
 * module by `entryFromBundle.ts`.
 */
export const threadEntry: string | URL = new URL('./threadFromSource.mjs', import.meta.url);
