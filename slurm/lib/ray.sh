# shellcheck shell=bash
# A Ray cluster over the nodes of this job: the head on the first node, beside the driver.

# Starts the cluster and waits until every node and GPU is there; sets RAY_PIDS, RAY_ADDRESS.
start_ray() {
  local nodes=() head ip gpus=$((GPUS_PER_NODE * SLURM_JOB_NUM_NODES))
  mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  head=${nodes[0]}
  ip=$(head_address "$head")
  RAY_PIDS=()
  export RAY_ADDRESS=$ip:$RAY_PORT
  run_step ray-head "$LOG_DIR/ray-head.log" --nodes=1 --ntasks=1 "--nodelist=$head" -- \
    "${RAY_COMMAND[@]}" start --head "--node-ip-address=$ip" "--port=$RAY_PORT" \
    "--num-gpus=$GPUS_PER_NODE" --include-dashboard=false --disable-usage-stats --block \
    ${RAY_OPTIONS[@]+"${RAY_OPTIONS[@]}"} &
  RAY_PIDS+=($!)
  if ((${#nodes[@]} > 1)); then
    wait_for_port "$ip" "$RAY_PORT" || return 1
    run_step ray-workers "$LOG_DIR/ray-workers.log" --label "--nodes=$((${#nodes[@]} - 1))" \
      "--ntasks=$((${#nodes[@]} - 1))" --ntasks-per-node=1 \
      "--nodelist=$(join , "${nodes[@]:1}")" -- \
      "${RAY_COMMAND[@]}" start "--address=$RAY_ADDRESS" "--num-gpus=$GPUS_PER_NODE" \
      --disable-usage-stats --block ${RAY_OPTIONS[@]+"${RAY_OPTIONS[@]}"} &
    RAY_PIDS+=($!)
  fi
  wait_for_ray "$head" "${#nodes[@]}" "$gpus"
}

# An address of the head that the other nodes can reach; its own name may map to loopback.
head_address() {
  local address ip
  address=$(scontrol show node "$1" | grep -o 'NodeAddr=[^ ]*' | cut -d= -f2)
  ip=$(getent ahostsv4 "$address" | awk 'NR == 1 { print $1 }')
  if [[ -z $ip || $ip == 127.* ]]; then
    ip=$(hostname -I | awk '{ print $1 }')
  fi
  echo "$ip"
}

wait_for_port() {
  local deadline=$((SECONDS + RAY_TIMEOUT_SECONDS))
  until (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; do
    if ((SECONDS > deadline)) || ! is_any_alive "${RAY_PIDS[@]}"; then
      say "the Ray head does not answer; see ray-head.log"
      return 1
    fi
    sleep 1
  done
}

# wait_for_ray HEAD NODES GPUS: `ray status` has to show all of them.
wait_for_ray() {
  local waiter deadline=$((SECONDS + RAY_TIMEOUT_SECONDS))
  run_step ray-wait "$LOG_DIR/ray-wait.log" --nodes=1 --ntasks=1 "--nodelist=$1" -- \
    bash "$FROZEN/ray_ready.sh" "$2" "$3" "${RAY_COMMAND[@]}" &
  waiter=$!
  RAY_PIDS+=("$waiter")
  while kill -0 "$waiter" 2>/dev/null; do
    if ((SECONDS > deadline)); then
      say "Ray has not gathered $2 nodes and $3 GPUs within $RAY_TIMEOUT_SECONDS s; see ray-wait.log"
      return 1
    fi
    sleep 1 &
    wait $!
  done
  wait "$waiter" && say "Ray has $2 nodes and $3 GPUs"
}
