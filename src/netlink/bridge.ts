import { u32 } from './attribute.ts';
import { addLink, type NewLink } from './link.ts';
import type { Sink } from './socket.ts';

const IFLA_BR_FORWARD_DELAY = 1;

/** Makes a learning bridge without spanning tree, whose ports forward at once. */
export function addBridge(sink: Sink, link: NewLink): void {
  addLink(sink, 'bridge', link, [u32(IFLA_BR_FORWARD_DELAY, 0)]);
}
