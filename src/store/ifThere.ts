import { isStoreError } from './store.ts';

/**
 * What was got; undefined where there is no such object.
 *
 * @throws What the store throws for any other reason.
 */
export async function ifThere<T>(got: Promise<T>): Promise<T | undefined> {
  try {
    return await got;
  } catch (error) {
    if (isStoreError(error, 'NotFound')) return undefined;
    throw error;
  }
}
