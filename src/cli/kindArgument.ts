import { InvalidArgumentError } from 'commander';
import { definitionOf, KIND_NAMES, type Kind, kindNamed } from '../store/kinds/registry.ts';

/** @throws {InvalidArgumentError} Which means misuse: naming the kinds there are. */
export function kindOrThrow(name: string): Kind {
  const kind = kindNamed(name);
  if (kind) return kind;
  const known = KIND_NAMES.map((known) => definitionOf(known).plural).join(', ');
  throw new InvalidArgumentError(`Cannot find kind ${JSON.stringify(name)}: expected one of ${known}`);
}
