#!/usr/bin/env bash
# Waits, inside the runtime, until `ray status` shows all nodes and GPUs.
#
#   ray_ready.sh NODES GPUS RAY_COMMAND...
set -uo pipefail

nodes=$1 gpus=$2
shift 2
until "$@" status | tee /dev/stderr | awk -v nodes="$nodes" -v gpus="$gpus" '
  $1 == 1 && $2 ~ /^node_/ { seen++ }
  $2 == "GPU" { split($1, part, "/"); found = part[2] }
  END { exit !(seen >= nodes && found + 0 >= gpus) }'; do
  sleep 1
done
