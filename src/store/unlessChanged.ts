import { isStoreError } from './store.ts';

/**
 * Whether a write took place. What somebody else has changed meanwhile is judged anew when the news of that arrive.
 *
 * @throws What the store throws for any other reason than a change.
 */
export async function unlessChanged(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (isStoreError(error, 'Conflict', 'NotFound')) return false;
    throw error;
  }
}
