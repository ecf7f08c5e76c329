/** In the bundle everything is one file. */
export const threadEntry: string | URL = __filename;
