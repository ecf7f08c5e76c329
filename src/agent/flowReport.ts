import { formatIP, type IP } from '../address/ip.ts';
import type { FlowHalf } from '../datapath/flows.ts';
import { PROTOCOLS } from '../datapath/maps/endpoint.ts';
import type { Flow } from '../datapath/maps/flows.ts';
import type { FlowReport } from './reports.ts';

const NAMES = new Map(Object.entries(PROTOCOLS).map(([name, number]) => [number as number, name]));

export function flowReport({ key, flow }: FlowHalf): FlowReport {
  return {
    protocol: NAMES.get(key.protocol) ?? String(key.protocol),
    client: place(key.source, key.source_port),
    service: place(key.destination, key.destination_port),
    backend: place(flow.address, flow.port),
    state: flow.state,
    seconds: age(flow),
  };
}

function place(address: IP, port: number): string {
  const text = formatIP(address);
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
}

/** The map counts in seconds of CLOCK_MONOTONIC, as `process.hrtime` does. */
function age({ since }: Flow): number {
  return Math.max(0, Number(process.hrtime.bigint() / 1_000_000_000n) - since);
}
