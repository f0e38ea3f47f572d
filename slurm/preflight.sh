#!/usr/bin/env bash
# Is this node fit for a segment? Runs on every node, outside any container, before anything
# else; leaves one file per node in DIR: empty when all is well, else one reason per line.
#
#   preflight.sh DIR GPUS MIN_FREE_GB SCRATCH_DIR BATCH_HOST_TIME MAX_SKEW_SECONDS PORT
#
# PORT 0: no port is needed. BATCH_HOST_TIME: the epoch second at which the step was started.
set -uo pipefail

main() {
  local directory=$1 gpus=$2 min_free_gb=$3 scratch=$4 reference=$5 max_skew=$6 port=$7
  local node=${SLURMD_NODENAME:-$(hostname -s)}
  {
    check_clock "$reference" "$max_skew"
    check_shared_files "$directory"
    check_disk "$scratch" "$min_free_gb"
    ((port == 0)) || check_port "$port"
    ((gpus == 0)) || check_gpus "$gpus"
  } >"$directory/.$node" && mv "$directory/.$node" "$directory/$node"
}

check_clock() {
  local skew=$(($(date +%s) - $1))
  ((${skew#-} <= $2)) || echo "clock is $skew s from the batch host's"
}

check_shared_files() {
  [[ $(cat "$1/token" 2>/dev/null) == "$1" ]] || echo "can't read $1/token: not a shared file system"
}

check_disk() {
  local free_kb
  free_kb=$(df --output=avail -k "$1" 2>/dev/null | tail -n 1)
  if [[ ! $free_kb =~ ^[[:space:]]*[0-9]+$ ]]; then
    echo "$1 can't be read"
  elif ((free_kb < $2 * 1024 * 1024)); then
    echo "$1 has $((free_kb / 1024)) MiB free, wanted $2 GiB"
  fi
}

check_port() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    echo "port $1 is in use"
  fi
}

check_gpus() {
  local count errors
  if ! count=$(timeout 60 nvidia-smi --query-gpu=index --format=csv,noheader | grep -c .); then
    echo "nvidia-smi shows no GPU"
    return
  fi
  ((count >= $1)) || echo "$count GPUs, wanted $1"
  errors=$(query_gpu --query-gpu=ecc.errors.uncorrected.volatile.total)
  ((errors == 0)) || echo "$errors uncorrected memory errors since the last reset"
  errors=$(query_gpu --query-remapped-rows=remapped_rows.failure)
  ((errors == 0)) || echo "$errors GPUs could not remap a failed memory row"
}

# The sum over all GPUs; what a GPU does not support counts as 0.
query_gpu() {
  timeout 60 nvidia-smi "$1" --format=csv,noheader,nounits 2>/dev/null |
    awk '/^[[:space:]]*[0-9]+[[:space:]]*$/ { sum += $1 } END { print sum + 0 }'
}

main "$@"
