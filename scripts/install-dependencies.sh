#!/usr/bin/env bash
# Installs the Debian packages Tombolo is built or tested with, where they are missing.
# usage: install-dependencies.sh build|test|bench|demo|kubernetes|machine ...
set -euo pipefail

build=(clang llvm libbpf-dev libelf-dev linux-libc-dev gcc libc6-dev bpftool iproute2 git)
demo=(iproute2 iputils-ping curl procps util-linux tcpdump frr)
test=(python3 tcpdump containerd podman runc busybox-static ethtool nftables iptables iperf3 netcat-openbsd socat jq procps util-linux
  containernetworking-plugins frr bird2 gobgpd tshark bgpdump)
bench=(wrk nginx-light iperf3 containernetworking-plugins iptables)
kubernetes=(containerd runc busybox-static)
machine=(qemu-system-x86 kmod cpio busybox-static)

wanted=()
for group in "$@"; do
  case $group in
    build) wanted+=("${build[@]}") ;;
    demo) wanted+=("${build[@]}" "${demo[@]}") ;;
    test) wanted+=("${build[@]}" "${demo[@]}" "${test[@]}") ;;
    bench) wanted+=("${build[@]}" "${test[@]}" "${bench[@]}") ;;
    kubernetes) wanted+=("${build[@]}" "${kubernetes[@]}") ;;
    machine) wanted+=("${machine[@]}") ;;
    *) echo "install-dependencies.sh: there is no group '$group'" >&2; exit 2 ;;
  esac
done

# Debian 12 has an older one of its own, so that is nothing to install by the way.
found=$(node --version 2>/dev/null || true)
if ! [[ $found =~ ^v([0-9]+)\.([0-9]+) ]] || ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] < 20009)); then
  echo "install-dependencies.sh: install Node 20.9 or newer first (found ${found:-none})" >&2
  exit 1
fi
if ! command -v npm >/dev/null; then
  echo "install-dependencies.sh: install npm first: it comes with Node, except in Debian's own packages" >&2
  exit 1
fi

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
((${#missing[@]})) || exit 0

if [[ $EUID -ne 0 ]]; then
  echo "install-dependencies.sh: run as root once, or install: ${missing[*]}" >&2
  exit 1
fi
echo "install-dependencies.sh: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Mirrors and resolvers have bad minutes, and others may be installing.
apt=(apt-get -qq -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
# That timeout is not for the lock on the lists, which a fresh machine's own timer holds for a while. What else is wrong with the
# lists need not concern us: the installation will say.
until said=$(LC_ALL=C "${apt[@]}" update 2>&1); do
  if [[ $said != *'Could not get lock'* ]] || ((SECONDS > 300)); then
    echo "$said" >&2
    break
  fi
  sleep 1
done
# No daemon may start by itself: the tests start their own, in their own namespaces.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
