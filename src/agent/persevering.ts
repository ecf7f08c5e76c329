import { isStoreError } from '../store/store.ts';

const ATTEMPTS = 5;

/** Reads and writes again when somebody else has written in between. */
export async function persevering(attempt: () => Promise<void>): Promise<void> {
  for (let left = ATTEMPTS; ; left--) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (left === 0 || !isStoreError(error, 'Conflict', 'AlreadyExists', 'NotFound')) throw error;
    }
  }
}
