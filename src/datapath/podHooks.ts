/** A place inside a pod where a program belongs. */
export interface PodHook {
  readonly program: 'tb_eth0_egress' | 'tb_eth0_ingress' | 'tb_lo';
  readonly index: number;
  readonly direction: 'ingress' | 'egress';
  /** Whether several attachments of one pod have it in common. */
  readonly shared: boolean;
}

/** `lo` is the first device of every namespace. */
const LOOPBACK = 1;

/** The three hooks of an interface of a pod. */
export function podHooks(index: number): PodHook[] {
  return [
    { program: 'tb_eth0_egress', index, direction: 'egress', shared: false },
    { program: 'tb_eth0_ingress', index, direction: 'ingress', shared: false },
    { program: 'tb_lo', index: LOOPBACK, direction: 'egress', shared: true },
  ];
}
