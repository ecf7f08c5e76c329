#!/usr/bin/env bash
# First one node on this machine, in network namespaces of its own: pods on a veth pair and on a NIC, services, self-access, a
# failing backend, an agent that dies. Then two racks of nodes between BGP switches (demo-racks.ts). `demo.sh up` shows it
# and leaves it running, `demo.sh down` removes it.
#
#   fabric (a bridge and a router) ──┬── eth0 of the node ── shop   veth pod   10.211.0.x
#                                    └── nic0 of the node ── bank   NIC pod    10.212.0.x (macvlan on nic0)
set -euo pipefail
cd "$(dirname "$0")/.."

home=/run/tombolo-demo
pins=/sys/fs/bpf/tombolo-demo
cgroup_root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
cgroup=$cgroup_root/tombolo-demo
node_ns=tbdemo-node
fabric_ns=tbdemo-fabric
racks=/run/tombolo-demo-racks
failures=0

note() { printf '\n\033[1m%s\033[0m\n' "$*"; }
pass() { printf '  pass  %s\n' "$*"; }
fail() { printf '  FAIL  %s\n' "$*"; failures=$((failures + 1)); }
# Says pass or fail for what a command shows: CLAIM COMMAND...
shows() { local claim=$1; shift; if "$@" >/dev/null 2>&1; then pass "$claim"; else fail "$claim"; fi; }

# `ip netns exec` would hide bpffs; this enters the network namespace and nothing else.
inside() { local ns=$1; shift; nsenter --net="/run/netns/$ns" "$@"; }
tombolo() { dist/tombolo "$@"; }
fetch() { inside "tbdemo-$1" curl -s --max-time 1 "http://$2/"; }
# The same from a process in the agent's cgroup: translated at the socket, before there is any packet.
fetch_at_socket() { (echo "$BASHPID" >"$cgroup/cgroup.procs" && inside "tbdemo-$1" curl -s --max-time 1 "http://$2/"); }

down() {
  racks_down
  local pid
  for pid in $(cat "$home"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  for _ in $(seq 50); do
    [[ -e $home/agent.pid && -d /proc/$(<"$home/agent.pid") ]] || break
    sleep 0.1
  done
  local ns
  for ns in shop bank node fabric; do
    ip netns list | grep -qw "tbdemo-$ns" && ip netns delete "tbdemo-$ns"
  done
  rm -rf "$pins" "$home"
  [[ -d $cgroup ]] && rmdir "$cgroup"
  return 0
}

# The racks are held up by one process, and go with it.
racks_down() {
  local pid ns
  pid=$(cat $racks/pid 2>/dev/null || true)
  if [[ -n $pid ]] && grep -qs demo-racks "/proc/$pid/cmdline"; then
    kill "$pid"
    for _ in $(seq 100); do [[ -d /proc/$pid ]] || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
  fi
  # What it could not remove, because it was killed itself: it was the leader of a session of its own.
  local left
  for left in $([[ -z $pid ]] || ps -o pid= -s "$pid"); do
    if grep -qsE 'tbracks|tbagent|demo-racks' "/proc/$left/cmdline"; then kill -KILL "$left" || true; fi
  done
  for ns in $(ip netns list | awk '/^tbracks[0-9]+-/ { print $1 }'); do
    ip netns pids "$ns" | xargs -r kill -KILL
    ip netns delete "$ns"
  done
  for left in $(grep -ls 'directory:/run/tbracks-' /run/tbagent-*/agent.yaml); do rm -rf "${left%/*}"; done
  [[ -z $pid ]] || rm -rf /sys/fs/bpf/tbagent-"$pid"-*
  rm -rf $racks /run/tbracks-* /run/tombolo-tbracks-*
}

racks_up() {
  mkdir -p $racks
  # Before anybody reads from it: the other process may take its time.
  : >$racks/log
  (exec setsid env -u NODE_EXTRA_CA_CERTS node --import tsx scripts/demo-racks.ts) >>$racks/log 2>&1 </dev/null &
  local pid=$! line
  echo "$pid" >$racks/pid
  exec 7<$racks/log
  while true; do
    if IFS= read -r line <&7; then
      [[ $line == end\ * ]] && break
      printf '%s\n' "$line"
    else
      [[ -d /proc/$pid ]] || break
      sleep 0.2
    fi
  done
  exec 7<&-
  [[ ${line:-} == 'end 0' ]]
}

build_fabric() {
  ip netns add $fabric_ns
  ip netns add $node_ns
  inside $fabric_ns sh -c 'ip link add fabric type bridge && ip link set fabric up && ip link set lo up
    ip addr add 10.210.0.1/24 dev fabric && ip addr add 10.212.0.1/24 dev fabric
    echo 1 >/proc/sys/net/ipv4/ip_forward'
  local nic
  for nic in eth0 nic0; do
    inside $node_ns ip link add $nic type veth peer name port-$nic netns $fabric_ns
    inside $fabric_ns ip link set port-$nic master fabric up
    inside $node_ns ip link set $nic up
  done
  inside $node_ns sh -c 'ip link set lo up && ip addr add 10.210.0.2/24 dev eth0 && ip route add default via 10.210.0.1'
  # What BGP will say to the fabric: the pods behind the node.
  inside $fabric_ns ip route add 10.211.0.0/26 via 10.210.0.2
}

start_agent() {
  local begin=$SECONDS
  # exec: the process that is remembered must be the agent itself, or killing it would kill only a shell.
  (exec nsenter --net=/run/netns/$node_ns dist/tombolo agent --config $home/agent.yaml) >>$home/agent.log 2>&1 &
  echo $! >$home/agent.pid
  # The verifier takes seconds for all programs, on a machine that is busy with others a minute or two.
  while kill -0 "$(<$home/agent.pid)" 2>/dev/null && ((SECONDS < begin + 180)); do
    curl -s --max-time 1 --unix-socket $home/run/agent.sock http://agent/v1/status >/dev/null && return
    sleep 0.1
  done
  echo "demo: the agent does not answer; the end of its log:" >&2
  tail -5 $home/agent.log >&2
  exit 1
}

configure() {
  mkdir -p $home/store $home/run $home/state "$cgroup"
  chmod 700 $home
  cat >$home/agent.yaml <<YAML
nodeName: demo
nodeIP: 10.210.0.2
uplink: eth0
segments:
  - 10.211.0.0/26
  - { cidr: 10.212.0.0/26, gateway: 10.212.0.1 }
store: directory:$home/store
runDir: $home/run
stateDir: $home/state
bpfDir: $pins
cgroup: $cgroup
bgp: off
YAML
}

# NAME KIND-OF-ATTACHMENT: calls the plugin as kubelet would.
plugin() { # COMMAND NAME EXTRA-JSON
  printf '{"cniVersion":"1.1.0","name":"demo","type":"tombolo","agentSocket":"%s/run/agent.sock","stateDir":"%s/state","bpfDir":"%s"%s}' \
    $home $home $pins "$3" |
    CNI_COMMAND=$1 CNI_CONTAINERID=demo-$2 CNI_NETNS=/run/netns/tbdemo-$2 CNI_IFNAME=eth0 CNI_PATH=dist/cni \
      inside $node_ns dist/cni/tombolo
}

# NAME EXTRA-JSON: a pod with a web server that says who it is and whom it sees.
start_pod() {
  ip netns add "tbdemo-$1"
  inside "tbdemo-$1" ip link set lo up
  plugin ADD "$1" "$2" >"$home/$1.json"
  (exec nsenter --net="/run/netns/tbdemo-$1" env -u NODE_EXTRA_CA_CERTS node -e '
    const say = (request, answer) => answer.end(process.argv[1] + " sees " + request.socket.remoteAddress + "\n");
    require("node:http").createServer(say).listen(8080, "0.0.0.0");' "$1") >/dev/null 2>&1 &
  echo $! >"$home/$1.pid"
  for _ in $(seq 50); do
    inside "tbdemo-$1" curl -s --max-time 1 http://127.0.0.1:8080/ >/dev/null && break
    sleep 0.1
  done
}

address_of() { sed -n 's/.*"address": *"\([0-9.]*\)\/.*/\1/p' "$home/$1.json" | head -n 1; }

# SERVICE CLUSTER-IP BACKEND-ADDRESS...
apply_service() {
  local name=$1 ip=$2 address
  shift 2
  {
    printf 'apiVersion: v1\nkind: Service\nmetadata: { name: %s, namespace: demo }\n' "$name"
    printf 'spec:\n  clusterIP: %s\n  clusterIPs: [%s]\n  ports: [{ name: http, port: 80, targetPort: 8080, protocol: TCP }]\n---\n' "$ip" "$ip"
    printf 'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n'
    printf 'metadata: { name: %s-1, namespace: demo, labels: { kubernetes.io/service-name: %s } }\n' "$name" "$name"
    printf 'addressType: IPv4\nports: [{ name: http, port: 8080, protocol: TCP }]\nendpoints:\n'
    (($#)) || printf '  []\n'
    for address in "$@"; do
      printf '  - { addresses: [%s], conditions: { ready: true, serving: true, terminating: false } }\n' "$address"
    done
  } | tombolo apply --store directory:$home/store -f - >/dev/null
}

# Whether COUNT requests from a pod are all answered, by exactly these pods: FROM TARGET COUNT NAME...
answered_by() {
  local from=$1 target=$2 count=$3 seen
  shift 3
  seen=$(for _ in $(seq "$count"); do fetch "$from" "$target" || echo nobody; done | awk '{ print $1 }' | sort -u | xargs)
  [[ $seen == "$(printf '%s\n' "$@" | sort | xargs)" ]]
}

# Waits until a change has come through, for three seconds at most.
soon() {
  local end=$((SECONDS + 3))
  while ! "$@"; do ((SECONDS < end)) || return 1; sleep 0.1; done
}

refused_at_once() { # FROM TARGET
  local begin=${EPOCHREALTIME/./} status=0
  fetch "$1" "$2" >/dev/null || status=$?
  [[ $status == 7 ]] && ((${EPOCHREALTIME/./} - begin < 500000))
}

up() {
  [[ $EUID -eq 0 ]] || { echo 'demo: run as root' >&2; exit 1; }
  [[ -n $cgroup_root ]] || { echo 'demo: no cgroup2 is mounted' >&2; exit 1; }
  mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
  down
  trap 'echo "demo: stopped half-way; make demo-down removes what is there" >&2' ERR

  note 'A node on a fabric, its agent, two pods'
  build_fabric
  configure
  start_agent
  pass 'the agent has loaded its programs and answers'
  start_pod shop ''
  start_pod bank ',"attachment":"nic","master":"nic0","kind":"macvlan"'
  local shop bank
  shop=$(address_of shop)
  bank=$(address_of bank)
  shows "shop has $shop on a veth pair" [ -n "$shop" ]
  shows "bank has $bank on a NIC of its own" [ -n "$bank" ]
  shows 'no device of the node leads to bank' sh -c "! nsenter --net=/run/netns/$node_ns ip route get $bank | grep -q tbo"
  shows 'shop reaches bank, address to address' inside tbdemo-shop ping -c 1 -W 2 "$bank"

  note 'Service web (10.96.0.10): both pods'
  apply_service web 10.96.0.10 "$shop" "$bank"
  shows 'shop is answered by both, translated at the packet' soon answered_by shop 10.96.0.10 24 shop bank
  shows 'bank is answered by both, on a NIC that the node never sees' soon answered_by bank 10.96.0.10 24 shop bank
  shows 'a process in the cgroup is translated at the socket' fetch_at_socket shop 10.96.0.10
  shows "a port that is no service's is refused at once" refused_at_once shop 10.96.0.10:81

  note 'Service mirror (10.96.0.20): a pod that is its own and only backend'
  apply_service mirror 10.96.0.20 "$bank"
  shows 'bank reaches itself through the service' soon answered_by bank 10.96.0.20 3 bank
  shows 'and sees its own address as the client' [ "$(fetch bank 10.96.0.20)" = "bank sees $bank" ]
  apply_service mirror 10.96.0.20 "$shop"
  shows 'so does shop, on a veth pair' soon answered_by shop 10.96.0.20 3 shop
  shows 'and sees its own address, too' [ "$(fetch shop 10.96.0.20)" = "shop sees $shop" ]

  note 'A backend fails'
  apply_service web 10.96.0.10 "$bank"
  shows 'shop is out of web: every answer comes from bank' soon answered_by shop 10.96.0.10 12 bank
  apply_service web 10.96.0.10
  shows 'web without backends refuses at once' soon refused_at_once shop 10.96.0.10
  apply_service web 10.96.0.10 "$shop" "$bank"
  shows 'both are back' soon answered_by shop 10.96.0.10 24 shop bank

  note 'The agent dies'
  # Waited for as well: otherwise bash says so itself, in between.
  { kill -KILL "$(<$home/agent.pid)" && wait "$(<$home/agent.pid)"; } 2>/dev/null || true
  shows 'it is gone' sh -c "! curl -s --max-time 1 --unix-socket $home/run/agent.sock http://agent/v1/status"
  shows 'services go on without it' answered_by shop 10.96.0.10 24 shop bank
  start_agent
  shows 'it comes back, and they still do' answered_by bank 10.96.0.10 24 shop bank
  trap - ERR

  note 'Look at the node'
  cat <<TEXT
  bpftool prog | grep -A2 'name tb_'
  bpftool map  | grep 'name tb_'
  bpftool map dump pinned $pins/maps/tb_flows
  nsenter --net=/run/netns/tbdemo-shop tc filter show dev eth0 egress
  dist/tombolo status        --socket $home/run/agent.sock
  dist/tombolo endpoint list --socket $home/run/agent.sock
  dist/tombolo service list  --socket $home/run/agent.sock
  dist/tombolo ipam show     --socket $home/run/agent.sock
  nsenter --net=/run/netns/tbdemo-shop curl http://10.96.0.10/
  make demo-down
TEXT
  racks_up || failures=$((failures + 1))
  if ((failures)); then
    printf '\ndemo: not all of the above was seen to work\n'
    exit 1
  fi
  printf '\ndemo: everything above was seen to work\n'
}

case ${1:-up} in
  up) up ;;
  down) down ;;
  *) echo 'usage: demo.sh [up|down]' >&2; exit 2 ;;
esac
