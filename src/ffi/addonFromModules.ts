import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/**
 * Loads koffi's native addon from `node_modules`, for a run from the source tree.
 * The build replaces this module by `addonFromBundle.ts`.
 *
 * The npm wrapper around the addon adds only deprecation notices and costs ten times the load itself.
 */
export function loadAddon(): unknown {
  const require = createRequire(import.meta.url);
  const directory = dirname(require.resolve(`@koromix/koffi-linux-${process.arch}/package.json`));
  const module = { exports: {} };
  process.dlopen(module, join(directory, `linux_${process.arch}`, 'koffi.node'));
  return module.exports;
}
