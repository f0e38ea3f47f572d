# shellcheck shell=bash
# The settings of cluster.env: their defaults, and the checks that need no cluster.

# Reads FILE (none: defaults only). Every setting is explained in cluster.env.example.
load_settings() {
  NODES=1 GPUS_PER_NODE=0 GPU_OPTION=gres TIME_LIMIT=04:00:00
  PARTITION='' ACCOUNT='' QOS='' CONSTRAINT='' SBATCH_OPTIONS=() SRUN_OPTIONS=()
  EVALUATE_OPTIONS=() CONVERT_OPTIONS=()
  CHAIN_LENGTH=4 MAX_STALLED_SEGMENTS=3
  RUNTIME=none IMAGE='' MOUNTS=() RUNTIME_OPTIONS=()
  PRORL=(prorl) LOGIN_PYTHON=(python3) FREEZE_CODE=yes
  RAY=auto RAY_COMMAND=(ray) RAY_PORT=6379 RAY_TIMEOUT_SECONDS=600 RAY_OPTIONS=()
  PREFLIGHT=yes PREFLIGHT_TIMEOUT_SECONDS=120 MIN_FREE_GB=10 SCRATCH_DIR=/tmp MAX_CLOCK_SKEW_SECONDS=30
  FIRST_LEAD_SECONDS=600 MIN_LEAD_SECONDS=120 TEARDOWN_SECONDS=45
  HANG_SECONDS=0 MIN_HANG_SECONDS=600 SETUP_TIMEOUT_SECONDS=0
  if [[ -n $1 ]]; then
    [[ -r $1 ]] || { echo "$1: can't read the cluster settings" >&2; return 1; }
    # shellcheck source=/dev/null
    source "$1"
  fi
  check_settings
}

check_settings() {
  local name
  for name in NODES CHAIN_LENGTH MAX_STALLED_SEGMENTS RAY_PORT; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || { echo "$name=${!name}: expected a number above 0" >&2; return 1; }
  done
  for name in GPUS_PER_NODE MIN_FREE_GB MAX_CLOCK_SKEW_SECONDS FIRST_LEAD_SECONDS MIN_LEAD_SECONDS \
    TEARDOWN_SECONDS HANG_SECONDS MIN_HANG_SECONDS SETUP_TIMEOUT_SECONDS \
    PREFLIGHT_TIMEOUT_SECONDS RAY_TIMEOUT_SECONDS; do
    [[ ${!name} =~ ^[0-9]+$ ]] || { echo "$name=${!name}: expected a whole number" >&2; return 1; }
  done
  one_of RUNTIME none apptainer pyxis && one_of GPU_OPTION gres gpus-per-node none &&
    one_of RAY auto yes no && one_of PREFLIGHT yes no && one_of FREEZE_CODE yes no || return 1
  if [[ $RUNTIME != none && -z $IMAGE ]]; then
    echo "RUNTIME=$RUNTIME needs IMAGE" >&2
    return 1
  fi
}

# one_of NAME VALUE...: the setting NAME has one of the values.
one_of() {
  local name=$1 value
  shift
  for value; do
    [[ ${!name} == "$value" ]] && return 0
  done
  echo "$name=${!name}: expected one of $*" >&2
  return 1
}

# Fills REQUEST with the sbatch options that say what a job of so many nodes needs.
make_request() {
  REQUEST=("--nodes=$1" --ntasks-per-node=1 "--time=$TIME_LIMIT")
  [[ -n $PARTITION ]] && REQUEST+=("--partition=$PARTITION")
  [[ -n $ACCOUNT ]] && REQUEST+=("--account=$ACCOUNT")
  [[ -n $QOS ]] && REQUEST+=("--qos=$QOS")
  [[ -n $CONSTRAINT ]] && REQUEST+=("--constraint=$CONSTRAINT")
  if ((GPUS_PER_NODE > 0)); then
    case $GPU_OPTION in
      gres) REQUEST+=("--gres=gpu:$GPUS_PER_NODE") ;;
      gpus-per-node) REQUEST+=("--gpus-per-node=$GPUS_PER_NODE") ;;
      none) ;; # whole nodes: the partition gives their GPUs without being asked
    esac
  fi
  REQUEST+=(${SBATCH_OPTIONS[@]+"${SBATCH_OPTIONS[@]}"})
}
