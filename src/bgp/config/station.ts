import { type bmpServers, MONITORED_VIEWS, parseAddressAndPort } from '../../store/kinds/bgpValues.ts';
import { parseDuration } from '../../store/kinds/duration.ts';
import type { Of } from '../../store/schema.ts';
import { DEFAULTS, STATION_PORT, type StationConfig } from './router.ts';

/** `bmpServers` of a BGPConfiguration, or of a file. */
export function stationsFrom(written: Of<typeof bmpServers> = []): StationConfig[] {
  return written.map(({ address: text, views = MONITORED_VIEWS, statisticsInterval }) => {
    const { address, port = STATION_PORT } = parseAddressAndPort(text);
    const seconds =
      statisticsInterval === undefined ? DEFAULTS.statisticsInterval : parseDuration(statisticsInterval);
    return { address, port, views, statisticsInterval: Math.round(seconds) };
  });
}
