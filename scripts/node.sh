# What installing and uninstalling a node have in common: where things go. Sourced, not run.
# shellcheck shell=bash disable=SC2034

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

# Puts FILE in place of TARGET in one step: nobody ever sees half of it.
replace() { # FILE TARGET MODE
  install -D -m "$3" "$1" "$2.new"
  mv -f "$2.new" "$2"
}

with_systemd() { [[ -z $root && -d /run/systemd/system ]]; }
