#!/usr/bin/env bash
# Takes Tombolo off this node, in the opposite order of its installation.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
. scripts/node.sh

usage() {
  cat <<'USAGE'
usage: scripts/node-uninstall.sh [options]
  --root DIR        the file tree of an image
  --cni-bin DIR     default: /opt/cni/bin
  --cni-conf DIR    default: /etc/cni/net.d
  --purge           also remove configuration, state and pinned eBPF objects
  --force           even if pods of this network are still attached
USAGE
}

purge=no
force=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --root) root=$(path "$@"); shift 2 ;;
    --cni-bin) cni_bin=$(argument "$@"); shift 2 ;;
    --cni-conf) cni_conf=$(argument "$@"); shift 2 ;;
    --purge) purge=yes; shift ;;
    --force) force=yes; shift ;;
    -h | --help) usage; exit 0 ;;
    *) misuse "there is no option '$1'" ;;
  esac
done
root=${root%/}

shopt -s nullglob
records=("$root$state/attachments"/*.json)
attached=${#records[@]}
if ((attached)) && [[ $force == no ]]; then
  fail "$attached pods are still attached: drain the node first, or say --force"
fi

# First: kubelet must not ask for what is about to go.
rm -f "$root$cni_conf/10-tombolo.conflist"

if with_systemd && systemctl cat tombolo-agent.service >/dev/null 2>&1; then
  systemctl disable --now --quiet tombolo-agent.service
fi
rm -f "$root$unit" "$root/etc/systemd/system/multi-user.target.wants/${unit##*/}"
! with_systemd || systemctl daemon-reload

rm -f "$root$cni_bin/tombolo" "$root$cni_bin/tombolo.cjs" "$root$command"
rm -rf "$root$library"

if [[ $purge == yes ]]; then
  if [[ -z $root ]]; then
    rm -rf "$pins" "$run"
    clear_kernel
  fi
  rm -rf "$root$state" "$root${config%/*}"
fi
say "removed from ${root:-this node}; pods that were still attached: $attached"
