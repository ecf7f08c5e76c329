/**
 * Selection deferral of a restarting speaker (RFC 4724 §4.1): before it announces anything it hears from its
 * peers what they have kept, so that nobody loses a route that is about to come back.
 */
import type { AfiSafi } from '../wire/family.ts';

/** A peer that has not come back by then, in ms, is not waited for: it may be restarting, too, or gone. */
const COMEBACK_TIME = 15_000;

/**
 * A peer that says it has restarted, too, must not be waited for (RFC 4724 §3), or two would wait for each other.
 * It is given this time, in ms, all the same: FRR says so for minutes, while its routes come within two seconds.
 */
const COURTESY_TIME = 5_000;

export interface Deferral {
  /** Configured neighbours that have not come up yet, or have gone again before they said all they have to say. */
  readonly absent: ReadonlySet<string>;
  /** `neighbour family` whose End-of-RIB is due. */
  readonly owed: ReadonlySet<string>;
  /** The same of peers that have restarted, waited for until {@link courtesyUntil} only. */
  readonly hoped: ReadonlySet<string>;
  readonly absentUntil: number;
  readonly courtesyUntil: number;
  /** The end, whoever is still missing; ms. */
  readonly until: number;
}

export function beginDeferral(neighbours: readonly string[], now: number, time: number): Deferral {
  const absentUntil = now + Math.min(COMEBACK_TIME, time);
  return {
    absent: new Set(neighbours),
    owed: new Set(),
    hoped: new Set(),
    absentUntil,
    courtesyUntil: now,
    until: now + time,
  };
}

/** A neighbour is up and will say End-of-RIB for these families; none if it does not speak of it. */
export function cameUp(
  deferral: Deferral,
  neighbour: string,
  { families, restarted, now }: { families: readonly AfiSafi[]; restarted: boolean; now: number },
): Deferral {
  const due = families.map((family) => `${neighbour} ${family}`);
  const absent = without(deferral.absent, neighbour);
  if (!restarted) return { ...deferral, absent, owed: new Set([...deferral.owed, ...due]) };
  return {
    ...deferral,
    absent,
    hoped: new Set([...deferral.hoped, ...due]),
    courtesyUntil: now + COURTESY_TIME,
  };
}

export function saidEndOfRib(deferral: Deferral, neighbour: string, family: AfiSafi): Deferral {
  const name = `${neighbour} ${family}`;
  return { ...deferral, owed: without(deferral.owed, name), hoped: without(deferral.hoped, name) };
}

/** A neighbour is no more, or has ended its session for good: nothing is expected of it. */
export function forgotten(deferral: Deferral, neighbour: string): Deferral {
  const others = (set: ReadonlySet<string>) =>
    new Set([...set].filter((one) => !one.startsWith(`${neighbour} `)));
  const absent = without(deferral.absent, neighbour);
  return { ...deferral, absent, owed: others(deferral.owed), hoped: others(deferral.hoped) };
}

/**
 * A neighbour restarts. What it has not said yet it still has to say: it is as absent as one that has not come back
 * from before our own restart, and what it told us then is in the kernel only.
 */
export function lost(deferral: Deferral, neighbour: string, now: number): Deferral {
  const owes = [...deferral.owed, ...deferral.hoped].some((one) => one.startsWith(`${neighbour} `));
  const rest = forgotten(deferral, neighbour);
  if (!owes) return rest;
  const absentUntil = Math.max(deferral.absentUntil, Math.min(now + COMEBACK_TIME, deferral.until));
  return { ...rest, absent: new Set([...rest.absent, neighbour]), absentUntil };
}

/** Whether the time has come to announce. */
export function isOver(deferral: Deferral, now: number): boolean {
  const { absent, owed, hoped, absentUntil, courtesyUntil, until } = deferral;
  if (now >= until) return true;
  if (owed.size > 0) return false;
  return (absent.size === 0 || now >= absentUntil) && (hoped.size === 0 || now >= courtesyUntil);
}

/** When to ask again, if nothing happens before. */
export function nextCheck({ absentUntil, courtesyUntil, until }: Deferral, now: number): number {
  return Math.min(...[absentUntil, courtesyUntil, until].filter((time) => time > now));
}

function without(set: ReadonlySet<string>, member: string): ReadonlySet<string> {
  const rest = new Set(set);
  rest.delete(member);
  return rest;
}
