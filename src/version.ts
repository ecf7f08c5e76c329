declare const TOMBOLO_VERSION: string | undefined;
declare const TOMBOLO_COMMIT: string | undefined;

/** What the build was made from; `development` in a run from the source tree. */
export const version = typeof TOMBOLO_VERSION === 'string' ? TOMBOLO_VERSION : 'development';
export const commit = typeof TOMBOLO_COMMIT === 'string' ? TOMBOLO_COMMIT : '';
