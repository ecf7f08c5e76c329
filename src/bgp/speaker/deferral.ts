/**
 * Selection deferral of a restarting speaker (RFC 4724 §4.1): before it announces anything it hears from its
 * peers what they have kept, so that nobody loses a route that is about to come back.
 */
import type { AfiSafi } from '../wire/family.ts';

/** A peer that has not come back by then, in ms, is not waited for: it may be restarting, too, or gone. */
const COMEBACK_TIME = 15_000;

export interface Deferral {
  /** Configured neighbours that have not come up yet. */
  readonly absent: ReadonlySet<string>;
  /** `neighbour family` whose End-of-RIB is due. */
  readonly owed: ReadonlySet<string>;
  readonly absentUntil: number;
  /** The end, whoever is still missing; ms. */
  readonly until: number;
}

export function beginDeferral(neighbours: readonly string[], now: number, time: number): Deferral {
  return {
    absent: new Set(neighbours),
    owed: new Set(),
    absentUntil: now + Math.min(COMEBACK_TIME, time),
    until: now + time,
  };
}

/** A neighbour is up and will say End-of-RIB for these families; none if it does not speak of it. */
export function cameUp(deferral: Deferral, neighbour: string, families: readonly AfiSafi[]): Deferral {
  const owed = new Set([...deferral.owed, ...families.map((family) => `${neighbour} ${family}`)]);
  return { ...deferral, absent: without(deferral.absent, neighbour), owed };
}

export function saidEndOfRib(deferral: Deferral, neighbour: string, family: AfiSafi): Deferral {
  return { ...deferral, owed: without(deferral.owed, `${neighbour} ${family}`) };
}

/** A neighbour is gone again: nothing more is expected of it. */
export function wentDown(deferral: Deferral, neighbour: string): Deferral {
  const owed = new Set([...deferral.owed].filter((one) => !one.startsWith(`${neighbour} `)));
  return { ...deferral, absent: without(deferral.absent, neighbour), owed };
}

/** Whether the time has come to announce. */
export function isOver({ absent, owed, absentUntil, until }: Deferral, now: number): boolean {
  if (now >= until) return true;
  return owed.size === 0 && (absent.size === 0 || now >= absentUntil);
}

/** When to ask again, if nothing happens before. */
export function nextCheck({ absentUntil, until }: Deferral, now: number): number {
  return now < absentUntil ? absentUntil : until;
}

function without(set: ReadonlySet<string>, member: string): ReadonlySet<string> {
  const rest = new Set(set);
  rest.delete(member);
  return rest;
}
