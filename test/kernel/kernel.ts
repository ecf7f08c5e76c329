import { spawnSync } from 'node:child_process';
import { release } from 'node:os';
import { atLeast } from '../../src/preflight/checks.ts';

/**
 * What the kernel under these tests can do, asked without the code that they test. A test of something that not every kernel has
 * says by its name which it has met, and tests the refusal where there is nothing else to test.
 */
export const KERNEL = {
  ipvlan: makes('ip link add a type veth peer name b && ip link add link a name c type ipvlan'),
  /** The mark for arguments that are never NULL (docs/adr/0014). */
  verifiesByFunction: atLeast(release(), [6, 8]),
};

/** In a namespace that ends with the commands. */
function makes(commands: string): boolean {
  return spawnSync('unshare', ['--net', 'sh', '-ec', commands]).status === 0;
}
