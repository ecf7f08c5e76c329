import type { Assignment, NodeView, Segment } from './world.ts';

/** A node's segments while they are being decided. */
export class Draft {
  readonly node: NodeView;
  segments: Segment[];
  readonly reasons: string[];

  constructor(node: NodeView, moved: { segments: Segment[]; reasons: string[] }) {
    this.node = node;
    this.segments = moved.segments;
    this.reasons = moved.reasons;
  }

  change(before: Segment, after: Segment, reason: string): void {
    this.segments = this.segments.map((segment) => (segment === before ? after : segment));
    this.reasons.push(reason);
  }

  add(segment: Segment, reason: string): void {
    this.segments.push(segment);
    this.reasons.push(reason);
  }

  assignment(): Assignment | undefined {
    if (this.reasons.length === 0) return undefined;
    return { node: this.node.name, segments: this.segments, reasons: this.reasons };
  }
}
