# shellcheck shell=bash
# A Ray cluster over the nodes of this job: the head on the first node, beside the driver.

# Starts the cluster and waits until every node and GPU is there; sets RAY_ENVIRONMENT and
# RAY_PIDS, the steps that have to live as long as the driver.
start_ray() {
  local nodes=() head ip gpus=$((GPUS_PER_NODE * SLURM_JOB_NUM_NODES))
  mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  head=${nodes[0]}
  ip=$(head_address "$head")
  make_ray_token
  RAY_ENVIRONMENT=("RAY_ADDRESS=$ip:$RAY_PORT" RAY_AUTH_MODE=token "RAY_AUTH_TOKEN_PATH=$LOG_DIR/.ray_token")
  run_step ray-head "$LOG_DIR/ray-head.log" --nodes=1 --ntasks=1 "--nodelist=$head" -- \
    "${RAY_COMMAND[@]}" start --head "--node-ip-address=$ip" "--port=$RAY_PORT" \
    "--num-gpus=$GPUS_PER_NODE" --include-dashboard=false --disable-usage-stats --block \
    ${RAY_OPTIONS[@]+"${RAY_OPTIONS[@]}"} &
  RAY_PIDS=($!) STEP_PIDS+=($!)
  if ((${#nodes[@]} > 1)); then
    wait_for_port "$ip" "$RAY_PORT" || return 1
    run_step ray-workers "$LOG_DIR/ray-workers.log" --label "--nodes=$((${#nodes[@]} - 1))" \
      "--ntasks=$((${#nodes[@]} - 1))" --ntasks-per-node=1 \
      "--nodelist=$(join , "${nodes[@]:1}")" -- \
      "${RAY_COMMAND[@]}" start "--address=$ip:$RAY_PORT" "--num-gpus=$GPUS_PER_NODE" \
      --disable-usage-stats --block ${RAY_OPTIONS[@]+"${RAY_OPTIONS[@]}"} &
    RAY_PIDS+=($!) STEP_PIDS+=($!)
  fi
  wait_for_ray "$head" "${#nodes[@]}" "$gpus"
}

# Whoever can reach the ports of a Ray cluster can run commands as its owner; those of this
# job have a secret to show.
make_ray_token() {
  (umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$LOG_DIR/.ray_token")
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
    if ((SECONDS > deadline)) || ! is_each_alive "${RAY_PIDS[@]}"; then
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
  STEP_PIDS+=("$waiter")
  while kill -0 "$waiter" 2>/dev/null; do
    if ((SECONDS > deadline)) || ! is_each_alive "${RAY_PIDS[@]}"; then
      say "Ray has not gathered $2 nodes and $3 GPUs in $RAY_TIMEOUT_SECONDS s, or a part of it ended; see ray-*.log"
      return 1
    fi
    sleep 1 &
    wait $!
  done
  wait "$waiter" && say "Ray has $2 nodes and $3 GPUs"
}
