import { connect, type Socket } from 'node:net';
import { formatIP } from '../../address/ip.ts';
import type { Log } from '../../log.ts';
import type { DownReason } from '../fsm/connection.ts';
import { encodeBmp } from './encode.ts';
import { Exporter, type ExporterParts, type MonitoredPeer } from './exporter.ts';

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
const CONNECT_LIMIT_MS = 10_000;
/** A station that leaves so many bytes of updates waiting hears everything anew instead. */
const BACKLOG_LIMIT = 64 << 20;

const ADMINISTRATIVELY_CLOSED = 0;
const OUT_OF_RESOURCES = 2;

export interface StationParts extends Omit<ExporterParts, 'send' | 'soon'> {
  readonly log: Log;
  established(): Iterable<MonitoredPeer>;
}

/** A station and the connection to it, kept up until it is closed. */
export class Station {
  readonly #parts: StationParts;
  #socket: Socket | undefined;
  #exporter: Exporter | undefined;
  #retry: NodeJS.Timeout | undefined;
  #statistics: NodeJS.Timeout | undefined;
  #pause = FIRST_RETRY_MS;
  #closed = false;

  constructor(parts: StationParts) {
    this.#parts = parts;
    this.#dial();
  }

  established(peer: MonitoredPeer): void {
    this.#exporter?.established(peer);
  }

  down(name: string, reason: DownReason): void {
    this.#exporter?.down(name, reason);
  }

  sent(name: string, bytes: Uint8Array): void {
    this.#exporter?.sent(name, bytes);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#hangUp(ADMINISTRATIVELY_CLOSED);
  }

  #dial(): void {
    const { address, port } = this.#parts.config;
    const socket = connect({ host: formatIP(address), port, timeout: CONNECT_LIMIT_MS });
    this.#socket = socket;
    socket.on('connect', () => this.#begin(socket));
    socket.on('timeout', () => socket.connecting && socket.destroy());
    socket.on('drain', () => this.#exporter?.resume());
    socket.on('error', (error) => this.#parts.log.debug('station', { error }));
    socket.on('close', () => this.#lost(socket));
    // A station has nothing to say, but its closing must be seen.
    socket.resume();
  }

  #begin(socket: Socket): void {
    const { log, config, established } = this.#parts;
    log.info('connected to the station', { station: formatIP(config.address) });
    socket.setTimeout(0);
    socket.setKeepAlive(true, 30_000);
    const send = (bytes: Buffer) => this.#send(socket, bytes);
    this.#exporter = new Exporter({ ...this.#parts, send, soon: setImmediate }, established());
    if (config.statisticsInterval === 0) return;
    this.#statistics = setInterval(() => this.#exporter?.statistics(), config.statisticsInterval * 1000);
  }

  #send(socket: Socket, bytes: Buffer): boolean {
    if (socket.destroyed) return false;
    const room = socket.write(bytes);
    if (socket.writableLength > BACKLOG_LIMIT) {
      this.#parts.log.warning('the station is too slow: it is told everything anew');
      this.#hangUp(OUT_OF_RESOURCES);
    }
    return room;
  }

  #hangUp(reason: number): void {
    const socket = this.#socket;
    this.#forget();
    if (socket === undefined || socket.destroyed) return;
    if (socket.connecting || socket.writableLength > BACKLOG_LIMIT) socket.destroy();
    else socket.end(encodeBmp({ type: 'termination', reason }));
  }

  #lost(socket: Socket): void {
    if (socket !== this.#socket) return;
    if (this.#exporter) {
      this.#pause = FIRST_RETRY_MS;
      this.#parts.log.warning('the station is gone', { station: formatIP(this.#parts.config.address) });
    }
    this.#forget();
    if (this.#closed) return;
    this.#retry = setTimeout(() => this.#dial(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, LAST_RETRY_MS);
  }

  #forget(): void {
    clearInterval(this.#statistics);
    this.#exporter?.end();
    this.#exporter = undefined;
  }
}
