const UNITS: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };

/**
 * Parses a duration as Kubernetes writes it: `90s`, `1m30s`, `500ms`.
 *
 * @returns Seconds.
 * @throws {SyntaxError} If it is none.
 */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    throw new SyntaxError(
      `Cannot parse duration: expected a form like 90s or 1m30s (value ${JSON.stringify(text)})`,
    );
  }
  return parts.reduce((sum, [, count, unit = '']) => sum + Number(count) * (UNITS[unit] ?? 0), 0);
}
