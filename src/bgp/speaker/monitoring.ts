import { isDeepStrictEqual } from 'node:util';
import { formatIP } from '../../address/ip.ts';
import type { Log } from '../../log.ts';
import { version } from '../../version.ts';
import { Station } from '../bmp/station.ts';
import type { RouterConfig, StationConfig } from '../config/router.ts';
import type { Rib } from '../rib/rib.ts';
import type { Speaker, SpeakerEvent } from './speaker.ts';

export interface MonitoringParts {
  readonly rib: Rib;
  readonly log: Log;
  speaker(): Speaker;
}

/** The stations that a speaker tells what it hears, chooses and says (BMP). */
export class Monitoring {
  readonly #parts: MonitoringParts;
  readonly #stations = new Map<string, { readonly config: StationConfig; readonly station: Station }>();
  #router: unknown;

  constructor(parts: MonitoringParts) {
    this.#parts = parts;
  }

  /** A router that changes who it is introduces itself anew. */
  configure({ stations = [], asn, routerId, name }: RouterConfig): void {
    const router = { asn, identifier: routerId };
    const changed = !isDeepStrictEqual(router, this.#router);
    this.#router = router;
    const wanted = new Map(stations.map((one) => [`${formatIP(one.address)} ${one.port}`, one]));
    for (const [key, { config, station }] of this.#stations) {
      if (!changed && isDeepStrictEqual(wanted.get(key), config)) continue;
      station.close();
      this.#stations.delete(key);
    }
    for (const [key, config] of wanted) {
      if (this.#stations.has(key)) continue;
      const { rib, log } = this.#parts;
      const station = new Station({
        rib,
        log: log.part('bmp'),
        config,
        router,
        systemName: name ?? formatIP(routerId),
        systemDescription: `Tombolo ${version}`,
        now: () => BigInt(Date.now()) * 1000n,
        established: () => this.#established(),
      });
      this.#stations.set(key, { config, station });
    }
  }

  report(event: SpeakerEvent): void {
    if (event.type === 'established') {
      const neighbour = this.#parts.speaker().neighbour(event.neighbour);
      if (neighbour?.session === undefined) return;
      const { config, session } = neighbour;
      for (const { station } of this.#stations.values()) station.established({ config, session });
    } else if (event.type === 'down') {
      for (const { station } of this.#stations.values()) station.down(event.neighbour, event.reason);
    }
  }

  sent(neighbour: string, bytes: Uint8Array): void {
    for (const { station } of this.#stations.values()) station.sent(neighbour, bytes);
  }

  close(): void {
    for (const { station } of this.#stations.values()) station.close();
    this.#stations.clear();
  }

  *#established() {
    for (const { neighbour } of this.#parts.speaker().neighbours()) {
      const { config, session } = neighbour;
      if (session !== undefined) yield { config, session };
    }
  }
}
