/** A table of the RIB has no room left: whoever wanted to add to it must go without (RFC 4486, Out of Resources). */
export class FullError extends RangeError {
  override readonly name = 'FullError';
}
