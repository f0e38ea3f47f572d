# shellcheck shell=bash
# How a command reaches a node: srun, and the container runtime around the command.

# Fills RUNTIME_SRUN (options of srun), RUNTIME_WRAP (words before the command) and CODE_PATH.
# The frozen files, the run directory and the working directory are visible at the same
# place inside the container.
make_runtime() {
  RUNTIME_SRUN=() RUNTIME_WRAP=() CODE_PATH=$PYTHONPATH
  [[ -d $FROZEN/code ]] && CODE_PATH=$FROZEN/code${PYTHONPATH:+:$PYTHONPATH}
  local mount mounts=("$RUN_DIR:$RUN_DIR" "$WORK_DIR:$WORK_DIR" ${MOUNTS[@]+"${MOUNTS[@]}"})
  case $RUNTIME in
    pyxis)
      RUNTIME_SRUN=("--container-image=$IMAGE" "--container-mounts=$(join , "${mounts[@]}")"
        "--container-workdir=$WORK_DIR" ${RUNTIME_OPTIONS[@]+"${RUNTIME_OPTIONS[@]}"})
      ;;
    apptainer)
      RUNTIME_WRAP=(apptainer exec)
      ((GPUS_PER_NODE > 0)) && RUNTIME_WRAP+=(--nv)
      for mount in "${mounts[@]}"; do
        RUNTIME_WRAP+=(--bind "$mount")
      done
      RUNTIME_WRAP+=(--pwd "$WORK_DIR" ${RUNTIME_OPTIONS[@]+"${RUNTIME_OPTIONS[@]}"} "$IMAGE")
      ;;
  esac
}

# Container mounts are lists in words of their own syntax: some paths can't be said in it.
check_runtime() {
  [[ $RUNTIME == none ]] && return 0
  local path
  for path in "$RUN_DIR" "$WORK_DIR"; do
    if [[ $path == *[,:]* ]]; then
      echo "$path: a path with ',' or ':' can't be mounted into a container" >&2
      return 1
    fi
  done
}

join() {
  local IFS=$1
  shift
  echo "$*"
}

# run_step NAME LOG [srun options] -- COMMAND...: a step inside the runtime, its output in LOG.
# Not `--export`: values with commas would break it, and a container may start with a clean
# environment; what the command needs goes through env.
run_step() {
  local name=$1 log=$2 options=()
  shift 2
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  exec srun "--job-name=$name" --overlap --kill-on-bad-exit=1 \
    "--cpus-per-task=$(min_cpus_per_node)" "--chdir=$WORK_DIR" \
    ${SRUN_OPTIONS[@]+"${SRUN_OPTIONS[@]}"} ${options[@]+"${options[@]}"} \
    ${RUNTIME_SRUN[@]+"${RUNTIME_SRUN[@]}"} \
    ${RUNTIME_WRAP[@]+"${RUNTIME_WRAP[@]}"} \
    env "PYTHONPATH=$CODE_PATH" PYTHONUNBUFFERED=1 \
    ${CONFIG_ENVIRONMENT[@]+"${CONFIG_ENVIRONMENT[@]}"} \
    ${RAY_ENVIRONMENT[@]+"${RAY_ENVIRONMENT[@]}"} "$@" </dev/null >>"$log" 2>&1
}

# The smallest of "64(x3),32": a step has as many CPUs on each node as every node can give.
min_cpus_per_node() {
  local part least=''
  local IFS=,
  for part in ${SLURM_JOB_CPUS_PER_NODE:-1}; do
    part=${part%%\(*}
    if [[ -z $least ]] || ((part < least)); then
      least=$part
    fi
  done
  echo "$least"
}

# Ends every step of this job that is still there; the batch script itself goes on.
kill_steps() {
  local signal=$1 step
  while read -r step; do
    # It may end by itself before scancel gets there.
    [[ $step =~ ^[0-9]+\.[0-9]+$ ]] && scancel --quiet "--signal=$signal" "$step" 2>/dev/null
  done < <(squeue --steps --noheader --jobs="$SLURM_JOB_ID" --format=%i)
}

# end_steps GRACE PID...: TERM, then KILL after GRACE seconds; returns when the sruns are gone.
end_steps() {
  local grace=$1 deadline
  shift
  kill_steps TERM
  deadline=$((SECONDS + grace))
  while is_any_alive "$@" && ((SECONDS < deadline)); do
    sleep 0.2
  done
  if is_any_alive "$@"; then
    kill_steps KILL
    deadline=$((SECONDS + 10))
    while is_any_alive "$@" && ((SECONDS < deadline)); do
      sleep 0.2
    done
    is_any_alive "$@" && kill -KILL "$@" 2>/dev/null
  fi
  return 0
}

is_any_alive() {
  local pid
  for pid; do
    kill -0 "$pid" 2>/dev/null && return 0
  done
  return 1
}

is_each_alive() {
  local pid
  for pid; do
    kill -0 "$pid" 2>/dev/null || return 1
  done
}
