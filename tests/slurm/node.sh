#!/usr/bin/env bash
# The first process of one virtual machine of the test cluster: it has network, mount, host name
# and process namespaces of its own, so that killing it is a power loss.
#
#   node.sh login | NAME ADDRESS      with CLUSTER (directory), GATEWAY and VISIBLE (paths) set
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

# A private /tmp and /dev/shm; VISIBLE paths below /tmp stay shared.
make_private() {
  local stage=$CLUSTER/run/tmp-$1 path
  hostname "$1"
  mount --make-rprivate /
  mount --bind "$CLUSTER/hosts" /etc/hosts
  mkdir -p "$stage"
  mount -t tmpfs -o mode=1777,size=1400m tmpfs "$stage"
  while IFS= read -r path; do
    case $path in
      /tmp/*)
        mkdir -p "$stage/${path#/tmp/}"
        mount --rbind "$path" "$stage/${path#/tmp/}"
        ;;
    esac
  done <<<"$VISIBLE"
  mount --move "$stage" /tmp
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  ip link set lo up
}

run_login() {
  make_private login
  ip link add br0 type bridge
  ip address add "$GATEWAY/24" dev br0
  ip link set br0 up
  munged --force --socket="$CLUSTER/run/munge.sock" --key-file="$CLUSTER/munge.key" \
    --pid-file="$CLUSTER/run/munged.pid" --log-file="$CLUSTER/log/munged.log" \
    --seed-file="$CLUSTER/run/munged.seed"
  keep_running slurmctld -D -c -f "$CLUSTER/slurm.conf"
}

run_node() {
  make_private "$1"
  until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
  ip address add "$2/24" dev eth0
  ip link set eth0 up
  ip route add default via "$GATEWAY"
  keep_running slurmd -D -f "$CLUSTER/slurm.conf"
}

# Process 1 has to reap what the daemons leave behind.
keep_running() {
  "$@" >/dev/null 2>&1 &
  local daemon=$!
  while kill -0 "$daemon" 2>/dev/null; do wait "$daemon" || true; done
}

if [[ $1 == login ]]; then run_login; else run_node "$1" "$2"; fi
