#!/usr/bin/env bash
# Runs a command on one of Debian's own kernels: a virtual machine that has this machine's files (what it writes is gone afterwards),
# cgroup v2 and sysctls as Debian 12 sets them, and no network. Without KVM everything takes about twenty times as long.
# usage: on-kernel.sh PACKAGE COMMAND [ARGUMENT...]     PACKAGE: linux-image-amd64, or any linux-image-*-amd64 that is not a -cloud one
#   MEMORY=4096 (MiB)  CPUS=2  ACCELERATOR=tcg,thread=multi (or kvm)  KERNELS=/var/cache/tombolo/kernels
set -euo pipefail

(($# >= 2)) || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
package=$1
shift
fail() { echo "on-kernel.sh: $*" >&2; exit 1; }

"$(dirname "$0")/install-dependencies.sh" machine

# linux-image-amd64 is but a name for the newest one.
depended=$(apt-cache depends "$package" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n1)
package=${depended:-$package}
kernels=${KERNELS:-/var/cache/tombolo/kernels}
kernel=$kernels/$package
version=${package#linux-image-}
if [[ ! -s $kernel/lib/modules/$version/modules.dep ]]; then
  echo "on-kernel.sh: fetching $package" >&2
  rm -rf "$kernel"
  mkdir -p "$kernel/deb"
  (cd "$kernel/deb" && apt-get -qq -o Acquire::Retries=5 -o APT::Sandbox::User=root download "$package")
  dpkg-deb -x "$kernel"/deb/*.deb "$kernel"
  rm -r "$kernel/deb"
  depmod -b "$kernel" "$version"
fi

# The first file system: enough to mount this machine's.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/first/{bin,proc,sys,dev,lower,upper,root} "$work/exchange"
cp "$(command -v busybox)" "$work/first/bin/busybox"
modprobe -d "$kernel" -S "$version" -a --show-depends virtio_pci virtiofs 9pnet_virtio 9p overlay |
  while read -r word path _; do
    [[ $word == insmod ]] && cp -n "$path" "$work/first/" && echo "${path##*/}"
  done >"$work/first/modules"
cat >"$work/first/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev
while read -r module; do [ -n "$module" ] && insmod "/$module" 2>/dev/null; done </modules
mount -t virtiofs -o ro lower /lower
mount -t tmpfs -o size=75% tmpfs /upper && mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root
cd /root
mkdir -p lib/modules proc sys dev run tmp exchange
mount --bind "/lower$(cat /kernel)/lib/modules" lib/modules
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none exchange exchange
mount -t proc proc proc && mount -t sysfs sysfs sys && mount -t devtmpfs devtmpfs dev
mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp && chmod 1777 tmp
mkdir -p dev/pts dev/shm && mount -t devpts devpts dev/pts && mount -t tmpfs tmpfs dev/shm
mount -t cgroup2 cgroup2 sys/fs/cgroup && mount -t bpf bpf sys/fs/bpf
mount -t tracefs tracefs sys/kernel/tracing && mount -t debugfs debugfs sys/kernel/debug
ln -sf /proc/self/fd dev/fd; mkdir -p run/lock run/netns; rm -f etc/mtab; ln -s /proc/self/mounts etc/mtab
exec switch_root /root /bin/bash /exchange/main
INIT
chmod 755 "$work/first/init"
echo "$kernel" >"$work/first/kernel"
(cd "$work/first" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs"

# The first process there. The sysctls are those of systemd's 50-default.conf.
{
  cat <<'MAIN'
stty -F /dev/ttyS1 raw
# Through a pipe: who sees a terminal makes it his own.
exec </dev/null > >(exec setsid cat >/dev/ttyS1) 2>&1
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
hostname tombolo-machine
ip link set lo up
for scope in all default; do
  echo 2 >/proc/sys/net/ipv4/conf/$scope/rp_filter
  echo 1 >/proc/sys/net/ipv4/conf/$scope/promote_secondaries
done
MAIN
  printf 'cd %q && setsid --wait' "$PWD"
  printf ' %q' "$@"
  printf '\necho $? >/exchange/exit\nexec >/dev/null 2>&1\nsleep 1\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n'
} >"$work/exchange/main"

# Files come by virtiofs: the cache of 9p hangs in Linux 6.1 (fscache, duplicate cookies), and without it every read is a round trip.
/usr/lib/qemu/virtiofsd --socket-path="$work/files" -o source=/,cache=always,sandbox=chroot,no_writeback,log_level=err >"$work/virtiofsd" 2>&1 &
files=$!
trap 'kill "$files" 2>/dev/null || :; rm -rf "$work"' EXIT
for _ in {1..100}; do [[ -S $work/files ]] && break; sleep 0.1; done

# By TCG unless told otherwise: that a machine has /dev/kvm does not say that a kernel starts there.
memory=${MEMORY:-4096}
qemu-system-x86_64 -nodefaults -no-reboot -display none -machine pc,memory-backend=memory -accel "${ACCELERATOR:-tcg,thread=multi}" \
  -cpu max,la57=off -smp "${CPUS:-2}" -m "$memory" -object "memory-backend-memfd,id=memory,size=${memory}M,share=on" \
  -kernel "$kernel/boot/vmlinuz-$version" -initrd "$work/initramfs" -append "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable" \
  -chardev "socket,id=files,path=$work/files" -device vhost-user-fs-pci,chardev=files,tag=lower \
  -virtfs "local,path=$work/exchange,mount_tag=exchange,security_model=none" \
  -serial "file:$work/console" -serial stdio </dev/null || fail "the virtual machine did not start"

[[ -s $work/exchange/exit ]] || { tail -n40 "$work/console" >&2; fail "the command did not come to its end; above is the kernel's console"; }
exit "$(<"$work/exchange/exit")"
