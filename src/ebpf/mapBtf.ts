import { Attr, bpf, infoInto, withDescriptor } from './bpf.ts';
import { type MapLayout, parseBtf } from './btf.ts';
import type { MapInfo } from './map.ts';

/** `struct bpf_btf_info`: where the bytes go, how many they are. */
const INFO = { size: 16, bytes: 0, length: 8 };

/**
 * How the entries of a map in the kernel lie in memory, whoever has created it.
 *
 * @throws {SystemError} `ENOENT` if the map was created without BTF.
 */
export function mapLayout({ name, btf }: MapInfo): MapLayout {
  const what = `the BTF of map ${name}`;
  return withDescriptor(bpf('BTF_GET_FD_BY_ID', new Attr(12).u32(0, btf.id), `open ${what}`), (fd) => {
    const size = infoInto(fd, new Attr(INFO.size), what).readU32(INFO.length);
    const bytes = Buffer.alloc(size);
    infoInto(fd, new Attr(INFO.size).pointer(INFO.bytes, bytes).u32(INFO.length, size), what);
    const parsed = parseBtf(bytes);
    return { key: parsed.layout(btf.key), value: parsed.layout(btf.value) };
  });
}
