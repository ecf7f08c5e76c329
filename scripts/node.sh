# What installing and uninstalling a node have in common: where things go. Sourced, not run.
# shellcheck shell=bash disable=SC2034

# What is for root alone is given its mode by name; the rest of an image is everybody's to read.
umask 022

root=''
node=''
cni_bin=/opt/cni/bin
cni_conf=/etc/cni/net.d
library=/usr/local/lib/tombolo
command=/usr/local/bin/tombolo
config=/etc/tombolo/agent.yaml
unit=/etc/systemd/system/tombolo-agent.service
state=/var/lib/tombolo
run=/run/tombolo
pins=/sys/fs/bpf/tombolo

say() { echo "${0##*/}: $*"; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }
misuse() { echo "${0##*/}: $*" >&2; usage >&2; exit 2; }

# The argument of an option, or an end with its name.
argument() { [[ $# -ge 2 && -n $2 ]] || misuse "$1 needs a value"; printf '%s' "$2"; }

# The same of an option that names a file: relative to where the script was called, as people mean it.
path() {
  local given
  given=$(argument "$@") || exit
  [[ $given == /* ]] || given=$caller/$given
  printf '%s' "$given"
}

# Puts FILE in place of TARGET in one step: nobody ever sees half of it.
replace() { # FILE TARGET MODE
  install -D -m "$3" "$1" "$2.new"
  mv -f "$2.new" "$2"
}

# What an agent has put into the kernel beside its pins: programs at uplinks, which would forward to nobody, and routes.
clear_kernel() {
  ip link delete tbvxlan type vxlan 2>/dev/null || true
  local device direction
  for device in $(ip -o link show | awk -F '[:@ ]+' '{ print $2 }'); do
    for direction in ingress egress; do
      ! tc filter show dev "$device" $direction 2>/dev/null | grep -q tb_uplink_ ||
        tc filter delete dev "$device" $direction pref 1 handle 111 bpf
    done
  done
  ip route flush proto 111 2>/dev/null || true
  ip -6 route flush proto 111 2>/dev/null || true
}

with_systemd() { [[ -z $root && -d /run/systemd/system ]]; }
