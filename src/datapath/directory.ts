import { join } from 'node:path';

/** Where things are pinned under `bpfDir`; docs/architecture.md has the table. */
export interface PinDirectory {
  readonly maps: string;
  readonly programs: string;
  readonly cgroup: string;
  readonly links: string;
  map(name: string): string;
  program(name: string): string;
  /** The cgroup link of a socket program. */
  cgroupLink(program: string): string;
  /** The TCX links of one attachment. */
  podLinks(id: string): string;
  podLink(id: string, program: string): string;
}

export function pinDirectory(bpfDir: string): PinDirectory {
  const maps = join(bpfDir, 'maps');
  const programs = join(bpfDir, 'programs');
  const cgroup = join(bpfDir, 'cgroup');
  const links = join(bpfDir, 'links');
  return {
    maps,
    programs,
    cgroup,
    links,
    map: (name) => join(maps, name),
    program: (name) => join(programs, name),
    cgroupLink: (program) => join(cgroup, program),
    podLinks: (id) => join(links, id),
    podLink: (id, program) => join(links, id, program),
  };
}
