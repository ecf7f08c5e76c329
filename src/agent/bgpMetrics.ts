import type { KernelEntry } from '../bgp/speaker/kernelReport.ts';
import type { NeighbourStatus, SpeakerStatus } from '../bgp/speaker/status.ts';
import type { Metric, Sample } from './metrics.ts';

/** What Prometheus is told of the speaker; of one that does not run, that it does not. */
export function bgpMetrics(status: SpeakerStatus | undefined, kernel: readonly KernelEntry[] = []): Metric[] {
  const gauge = (name: string, help: string, samples: readonly Sample[]): Metric => ({
    name: `tombolo_bgp_${name}`,
    help,
    type: 'gauge',
    samples,
  });
  const counter = (name: string, help: string, samples: readonly Sample[]): Metric => ({
    name: `tombolo_bgp_${name}_total`,
    help,
    type: 'counter',
    samples,
  });
  const running = gauge('running', 'Whether the BGP speaker runs.', [{ value: status ? 1 : 0 }]);
  if (status === undefined) return [running];
  const { neighbours, draining, deferring } = status;
  const each = (value: (neighbour: NeighbourStatus) => number): Sample[] =>
    neighbours.map((neighbour) => ({ labels: labelsOf(neighbour), value: value(neighbour) }));
  return [
    running,
    gauge('draining', 'Whether routes are announced with GRACEFUL_SHUTDOWN.', [{ value: draining ? 1 : 0 }]),
    gauge('deferring', 'Whether a restarted speaker still waits for its peers.', [
      { value: deferring ? 1 : 0 },
    ]),
    gauge(
      'session_up',
      'Whether the session is established.',
      each(({ state }) => (state === 'Established' ? 1 : 0)),
    ),
    counter(
      'sessions',
      'How often a session came to be established.',
      each(({ established }) => established),
    ),
    gauge(
      'kernel_routes',
      'Routes that BGP has chosen, by what the kernel made of them.',
      kernelSamples(kernel),
    ),
    gauge('prefixes', 'Prefixes of established sessions.', neighbours.flatMap(prefixSamples)),
    counter('messages', 'Messages, by direction and type.', neighbours.flatMap(messageSamples)),
    counter(
      'malformed_updates',
      'UPDATEs with errors, of the session that stands.',
      each(({ malformedUpdates }) => malformedUpdates),
    ),
    gauge(
      'backlog_bytes',
      'Bytes that wait for the peer to take them.',
      each(({ backlog }) => backlog),
    ),
  ];
}

function kernelSamples(kernel: readonly KernelEntry[]): Sample[] {
  return (['installed', 'waiting', 'refused', 'unreachable'] as const).map((state) => ({
    labels: { state },
    value: kernel.filter((entry) => entry.state === state).length,
  }));
}

function labelsOf({ name, address }: NeighbourStatus) {
  return { neighbour: name, address };
}

function prefixSamples(neighbour: NeighbourStatus): Sample[] {
  return neighbour.families.flatMap(({ family, received, accepted, advertised }) =>
    Object.entries({ received, accepted, advertised }).map(([stage, value]) => ({
      labels: { ...labelsOf(neighbour), family, stage },
      value,
    })),
  );
}

function messageSamples(neighbour: NeighbourStatus): Sample[] {
  return Object.entries(neighbour.messages).flatMap(([direction, counts]) =>
    Object.entries(counts).map(([type, value]) => ({
      labels: { ...labelsOf(neighbour), direction, type },
      value,
    })),
  );
}
