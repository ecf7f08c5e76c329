import { CniError, CODE } from '../../cni/protocol/error.ts';
import { messageOf } from '../errors.ts';
import type { EventRecorder } from '../store/events.ts';
import type { PodName } from './binding.ts';
import type { Metric } from './metrics.ts';

/**
 * Why a pod has no address, in the words that kubelet has: with the pod, and with its namespace where that is what
 * people have to correct.
 */
export function tellFailure(events: Pick<EventRecorder, 'record'>, pod: PodName, error: unknown): void {
  const message = `${messageOf(error)}; more: tombolo ipam explain pod ${pod.namespace}/${pod.name}`;
  const happening = { type: 'Warning', reason: 'IPAllocationFailed', message } as const;
  events.record({ kind: 'Pod', namespace: pod.namespace, name: pod.name }, happening);
  if (
    error instanceof CniError &&
    error.code === CODE.invalidConfiguration &&
    message.includes(' of namespace ')
  ) {
    events.record({ kind: 'Namespace', name: pod.namespace }, happening);
  }
}

export function eventMetric({ counts }: Pick<EventRecorder, 'counts'>): Metric {
  return {
    name: 'tombolo_events_total',
    help: 'Events for people, by what became of them.',
    type: 'counter',
    samples: Object.entries(counts).map(([outcome, value]) => ({ labels: { outcome }, value })),
  };
}
