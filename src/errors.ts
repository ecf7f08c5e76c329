/**
 * Errors read `Cannot <verb> <object>: <reason> (value …)`: a capital first letter, no full stop, and the
 * value that was refused. Where one error explains another, the first is the `cause` of the second.
 */

/** One line for people, of whatever was thrown. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.replace(/\s*\n\s*/g, ' ').trim();
}

/** The error and each of its causes, a line each, outermost first. Causes already quoted are kept too. */
export function chainOf(error: unknown): string[] {
  const lines: string[] = [];
  for (let at: unknown = error; at !== undefined && lines.length < 16; ) {
    lines.push(messageOf(at));
    at = at instanceof Error ? at.cause : undefined;
  }
  return lines;
}

/** `Cannot <what>: <message of cause>`, with the cause kept. */
export function because(what: string, cause: unknown): Error {
  return new Error(`Cannot ${what}: ${messageOf(cause).replace(/^Cannot /, 'cannot ')}`, { cause });
}

/** Marks a branch that the types rule out; a value that arrives all the same is named. */
export function unreachable(value: never): never {
  throw new Error(`Cannot handle a value outside its type (value ${JSON.stringify(value)})`);
}
