#!/usr/bin/env bash
# Installs Tombolo on this node, or into the file tree of an image.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
. scripts/node.sh

usage() {
  cat <<'USAGE'
usage: scripts/node-install.sh [options]
  --root DIR        install into the file tree at DIR; starts and mounts nothing
  --from DIR        the build products (default: dist)
  --node PATH       the Node 20 the node will run (default: the one found here)
  --config FILE     the agent's configuration, if the node has none yet
  --conflist FILE   the network configuration (default: cni/conflist/10-tombolo.conflist)
  --cni-bin DIR     default: /opt/cni/bin
  --cni-conf DIR    default: /etc/cni/net.d
  --no-start        install the service without starting it
USAGE
}

from=dist
given_config=''
conflist=cni/conflist/10-tombolo.conflist
start=yes
while [[ $# -gt 0 ]]; do
  case $1 in
    --root) root=$(path "$@"); shift 2 ;;
    --from) from=$(path "$@"); shift 2 ;;
    --node) node=$(argument "$@"); shift 2 ;;
    --config) given_config=$(path "$@"); shift 2 ;;
    --conflist) conflist=$(path "$@"); shift 2 ;;
    --cni-bin) cni_bin=$(argument "$@"); shift 2 ;;
    --cni-conf) cni_conf=$(argument "$@"); shift 2 ;;
    --no-start) start=no; shift ;;
    -h | --help) usage; exit 0 ;;
    *) misuse "there is no option '$1'" ;;
  esac
done

root=${root%/}
node=${node:-$(command -v node || true)}
[[ -n $node ]] || fail "no node found: install Node 20, or name it with --node"
[[ $node == /* ]] || fail "--node must be an absolute path, kubelet's PATH is not yours (value $node)"
for file in "$from/tombolo" "$from/cni/tombolo" "$from/cni/tombolo.cjs" "$conflist"; do
  [[ -f $file ]] || fail "$file is missing: run 'make build' first"
done
[[ -z $given_config || -f $given_config ]] || fail "there is no file $given_config"

staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT

# kubelet and containerd run plugins with a PATH of their own, so the bundles name their Node.
with_node() { # FILE TARGET
  { printf '#!%s\n' "$node"; tail -n +2 "$1"; } >"$2"
  chmod 755 "$2"
}
with_node "$from/tombolo" "$staging/tombolo-command"
with_node "$from/cni/tombolo.cjs" "$staging/tombolo.cjs"
install -m 755 "$from/cni/tombolo" "$staging/tombolo"

# Before anything is replaced: do the new files run here? Into an image, the Node of this machine answers for theirs.
check_version() { # COMMAND...
  local answer
  answer=$(env -i CNI_COMMAND=VERSION "$@" </dev/null) || fail "the new plugin does not run: $* said '$answer'"
  [[ $answer == *'"supportedVersions"'* ]] || fail "the new plugin does not answer VERSION: it said '$answer'"
}
if [[ -z $root ]]; then
  check_version "$staging/tombolo"
else
  check_version "$(command -v node)" "$staging/tombolo.cjs"
fi

mkdir -p "$root$library/bpf"
for object in "$from"/bpf/*.o; do
  replace "$object" "$root$library/bpf/${object##*/}" 644
done
replace "$staging/tombolo-command" "$root$library/tombolo" 755
mkdir -p "$root${command%/*}"
ln -sfn "$library/tombolo" "$root$command"

# The bundle before the launcher: a launcher may look for its bundle at any moment.
replace "$staging/tombolo.cjs" "$root$cni_bin/tombolo.cjs" 755
replace "$staging/tombolo" "$root$cni_bin/tombolo" 755

install -d -m 700 "$root$state"
if [[ ! -e $root$config ]]; then
  replace "${given_config:-deploy/agent.yaml}" "$root$config" 600
elif [[ -n $given_config ]]; then
  say "kept $config as it is; compare it with $given_config"
fi
replace deploy/tombolo-agent.service "$root$unit" 644

if [[ -z $root ]]; then
  mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
  if ! grep -q ' cgroup2 ' /proc/mounts; then
    mkdir -p /run/tombolo-cgroup2
    mount -t cgroup2 none /run/tombolo-cgroup2
  fi
  install -d -m 700 "$run"
fi

if with_systemd; then
  systemctl daemon-reload
  [[ $start == no ]] || systemctl enable --quiet tombolo-agent.service
  [[ $start == no ]] || systemctl restart tombolo-agent.service
elif [[ -n $root ]]; then
  mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
  ln -sfn "$unit" "$root/etc/systemd/system/multi-user.target.wants/${unit##*/}"
else
  say "there is no systemd here: start '$command agent --config $config' yourself"
fi

# Last: from this moment on kubelet calls the node ready.
replace "$conflist" "$root$cni_conf/10-tombolo.conflist" 600
if [[ -n $root && ! -e $root$node && ! -L $root$node ]]; then
  say "the image has no $node yet: without it neither agent nor plugin starts; --node says where it will be"
fi
say "installed ${root:-on this node}; look at it ${root:+there }with 'tombolo status' and 'tombolo preflight'"
