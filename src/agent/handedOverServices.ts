import { isHandedOver } from '../datapath/outsideSets.ts';
import type { Change } from '../store/follow.ts';
import type { Service } from '../store/kinds/service.ts';
import { keyOf, keyText } from '../store/store.ts';
import type { AnnouncedClusterIPs } from './announcedClusterIPs.ts';

/** Whether there are services whose packets nodes hand over to each other. */
export class HandedOverServices {
  readonly #announced: AnnouncedClusterIPs;
  readonly #services = new Map<string, Service>();
  #listed = false;

  constructor(announced: AnnouncedClusterIPs) {
    this.#announced = announced;
  }

  get listed(): boolean {
    return this.#listed;
  }

  get any(): boolean {
    for (const service of this.#services.values()) {
      if (isHandedOver(service, this.#announced.ranges)) return true;
    }
    return false;
  }

  /** @returns Whether an answer of this one may be different now. */
  take(change: Change<Service>): boolean {
    if (change.type === 'interrupted') return false;
    if (change.type === 'replaced') {
      this.#listed = true;
      this.#services.clear();
      for (const service of change.objects) this.#services.set(keyText(keyOf(service)), service);
      return true;
    }
    const key = keyText(keyOf(change.object));
    const before = this.#services.get(key);
    if (change.type === 'applied') this.#services.set(key, change.object);
    else this.#services.delete(key);
    const counts = (service: Service | undefined) =>
      service !== undefined && isHandedOver(service, this.#announced.ranges);
    return counts(before) !== counts(this.#services.get(key));
  }
}
