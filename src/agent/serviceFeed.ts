import type { Change } from '../store/follow.ts';
import { type EndpointSlice, serviceOf } from '../store/kinds/endpointSlice.ts';
import type { Service } from '../store/kinds/service.ts';
import { keyOf, keyText } from '../store/store.ts';

/** A service with the slices that name its endpoints; no service where it is gone, or never was. */
export interface ServiceInput {
  /** `namespace/name`. */
  readonly key: string;
  readonly service: Service | undefined;
  readonly slices: readonly EndpointSlice[];
}

/**
 * Brings services and their slices together, and remembers which have changed. Nothing can be said before both
 * kinds have been listed once: a service whose slices are still to come would look as if it had none.
 */
export class ServiceFeed {
  readonly #services = new Map<string, Service>();
  readonly #slices = new Map<string, EndpointSlice>();
  /** The slices of a service, by their own keys. */
  readonly #members = new Map<string, Set<string>>();
  readonly #dirty = new Set<string>();
  readonly #listed = new Set<'Service' | 'EndpointSlice'>();

  get complete(): boolean {
    return this.#listed.size === 2;
  }

  get sizes(): { services: number; slices: number } {
    return { services: this.#services.size, slices: this.#slices.size };
  }

  onService(change: Change<Service>): void {
    if (change.type === 'interrupted') return;
    if (change.type === 'replaced') {
      this.#listed.add('Service');
      const present = new Set(change.objects.map((object) => keyText(keyOf(object))));
      for (const key of this.#services.keys()) if (!present.has(key)) this.#putService(key, undefined);
      for (const object of change.objects) this.#putService(keyText(keyOf(object)), object);
    } else {
      const key = keyText(keyOf(change.object));
      this.#putService(key, change.type === 'applied' ? change.object : undefined);
    }
  }

  onSlice(change: Change<EndpointSlice>): void {
    if (change.type === 'interrupted') return;
    if (change.type === 'replaced') {
      this.#listed.add('EndpointSlice');
      const present = new Set(change.objects.map((object) => keyText(keyOf(object))));
      for (const key of this.#slices.keys()) if (!present.has(key)) this.#putSlice(key, undefined);
      for (const object of change.objects) this.#putSlice(keyText(keyOf(object)), object);
    } else {
      const key = keyText(keyOf(change.object));
      this.#putSlice(key, change.type === 'applied' ? change.object : undefined);
    }
  }

  /** Some of what has changed since it was last taken; nothing while the picture is incomplete. */
  take(most = Number.POSITIVE_INFINITY): ServiceInput[] {
    const taken: ServiceInput[] = [];
    if (!this.complete) return taken;
    for (const key of this.#dirty) {
      if (taken.length === most) break;
      this.#dirty.delete(key);
      taken.push(this.#input(key));
    }
    return taken;
  }

  /** Marks what was taken as still to be done. */
  putBack(inputs: readonly ServiceInput[]): void {
    for (const { key } of inputs) this.#dirty.add(key);
  }

  /** Marks everything as to be done: what services follow from has changed beside them. */
  putAllBack(): void {
    for (const key of this.#services.keys()) this.#dirty.add(key);
  }

  /** Every service there is. */
  all(): ServiceInput[] {
    return [...this.#services.keys()].sort().map((key) => this.#input(key));
  }

  #input(key: string): ServiceInput {
    const slices = [...(this.#members.get(key) ?? [])]
      .sort()
      .flatMap((slice) => this.#slices.get(slice) ?? []);
    return { key, service: this.#services.get(key), slices };
  }

  #putService(key: string, service: Service | undefined): void {
    if (this.#services.get(key)?.metadata.resourceVersion === service?.metadata.resourceVersion) return;
    if (service) this.#services.set(key, service);
    else this.#services.delete(key);
    this.#dirty.add(key);
  }

  #putSlice(key: string, slice: EndpointSlice | undefined): void {
    const before = this.#slices.get(key);
    if (before?.metadata.resourceVersion === slice?.metadata.resourceVersion) return;
    if (slice) this.#slices.set(key, slice);
    else this.#slices.delete(key);
    const [was, is] = [before && ownerOf(before), slice && ownerOf(slice)];
    if (was !== undefined && was !== is) {
      const members = this.#members.get(was);
      members?.delete(key);
      if (members?.size === 0) this.#members.delete(was);
      this.#dirty.add(was);
    }
    if (is !== undefined) {
      const members = this.#members.get(is) ?? new Set();
      this.#members.set(is, members.add(key));
      this.#dirty.add(is);
    }
  }
}

function ownerOf(slice: EndpointSlice): string | undefined {
  const name = serviceOf(slice);
  return name && keyText({ namespace: slice.metadata.namespace, name });
}
