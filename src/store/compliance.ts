import { test } from 'node:test';
import type { Complies, Rig } from './compliance.rig.ts';
import { objectCompliance } from './objectCompliance.ts';
import { watchCompliance } from './watchCompliance.ts';

/** What every implementation of the store must do, as tests. */
export function storeCompliance(name: string, open: () => Promise<Rig>): void {
  const complies: Complies = (claim, run) => {
    test(`${name}: ${claim}`, async () => {
      const rig = await open();
      try {
        await run(rig);
      } finally {
        await rig.dispose();
      }
    });
  };
  objectCompliance(complies);
  watchCompliance(complies);
}
