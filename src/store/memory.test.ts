import { storeCompliance } from './compliance.ts';
import { MemoryStore } from './memory.rig.ts';

storeCompliance('in memory', async () => {
  const store = new MemoryStore();
  return { store, other: store, dispose: () => store.close() };
});
