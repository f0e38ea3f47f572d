# shellcheck shell=bash
# The settings of cluster.env: their defaults, and the checks that need no cluster.

# Reads FILE (none: defaults only). Every setting is explained in cluster.env.example.
load_settings() {
  NODES=1 GPUS_PER_NODE=0 GPU_OPTION=gres TIME_LIMIT=04:00:00
  PARTITION='' ACCOUNT='' QOS='' CONSTRAINT='' SBATCH_OPTIONS=() SRUN_OPTIONS=()
  EVALUATE_OPTIONS=() CONVERT_OPTIONS=()
  CHAIN_LENGTH=4 MAX_STALLED_SEGMENTS=3
  RUNTIME=none IMAGE='' MOUNTS=() RUNTIME_OPTIONS=()
  PRORL=(prorl) LOGIN_PYTHON=(python3) FREEZE_CODE=yes PYTHONPATH=${PYTHONPATH:-}
  RAY=auto RAY_COMMAND=(ray) RAY_PORT=6379 RAY_TIMEOUT_SECONDS=600 RAY_OPTIONS=()
  PREFLIGHT=yes PREFLIGHT_TIMEOUT_SECONDS=120 MIN_FREE_GB=10 SCRATCH_DIR=/tmp MAX_CLOCK_SKEW_SECONDS=30
  FIRST_LEAD_SECONDS=600 MIN_LEAD_SECONDS=120 TEARDOWN_SECONDS=45
  HANG_SECONDS=0 MIN_HANG_SECONDS=600 SETUP_TIMEOUT_SECONDS=0
  if [[ -n $1 ]]; then
    [[ -f $1 && -r $1 ]] || { echo "$1: can't read the cluster settings" >&2; return 2; }
    local known
    known=$(compgen -v)
    trap 'echo "$1: a command in it fails" >&2; exit 2' ERR # `NODES = 4` is no setting
    # shellcheck source=/dev/null
    source "$1"
    trap - ERR
    check_names "$1" "$known" || return 2
  fi
  check_settings
}

# check_names FILE KNOWN: a new variable in capitals that isn't exported is a misspelt setting.
check_names() {
  local name
  for name in $(compgen -v | grep -vxF "$2"); do
    [[ $name =~ ^[A-Z][A-Z0-9_]*$ && ! $(declare -p "$name") =~ ^declare\ -[A-Za-z]*x ]] || continue
    echo "$1: $name: no such setting (export it if it is for the jobs)" >&2
    return 2
  done
}

check_settings() {
  local name
  for name in NODES CHAIN_LENGTH MAX_STALLED_SEGMENTS RAY_PORT; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || { echo "$name=${!name}: expected a number above 0" >&2; return 2; }
  done
  for name in GPUS_PER_NODE MIN_FREE_GB MAX_CLOCK_SKEW_SECONDS FIRST_LEAD_SECONDS MIN_LEAD_SECONDS \
    TEARDOWN_SECONDS HANG_SECONDS MIN_HANG_SECONDS SETUP_TIMEOUT_SECONDS \
    PREFLIGHT_TIMEOUT_SECONDS RAY_TIMEOUT_SECONDS; do
    [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || { echo "$name=${!name}: expected a whole number" >&2; return 2; }
  done
  one_of RUNTIME none apptainer pyxis && one_of GPU_OPTION gres gpus-per-node none &&
    one_of RAY auto yes no && one_of PREFLIGHT yes no && one_of FREEZE_CODE yes no || return 2
  if [[ $RUNTIME != none && -z $IMAGE ]]; then
    echo "RUNTIME=$RUNTIME needs IMAGE" >&2
    return 2
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
  return 2
}

# Seconds of a time as sbatch takes it: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S; 0: no limit.
limit_seconds() {
  local text=$1 days=0 a b c
  if [[ $text == *-* ]]; then
    days=${text%%-*} text=${text#*-}
    [[ $text == *:*:* ]] || text+=:0
    [[ $text == *:*:* ]] || text+=:0
  fi
  IFS=: read -r a b c <<<"$text"
  if [[ ! $days$a${b:-0}${c:-0} =~ ^[0-9]+$ ]]; then
    echo 0
  elif [[ -n $c ]]; then
    echo $((((10#$days * 24 + 10#$a) * 60 + 10#$b) * 60 + 10#$c))
  else
    echo $((10#$a * 60 + 10#${b:-0}))
  fi
}

# make_request NODES GPUS_PER_NODE: fills REQUEST with the sbatch options that say what a job needs.
make_request() {
  REQUEST=("--nodes=$1" --ntasks-per-node=1 "--time=$TIME_LIMIT")
  [[ -n $PARTITION ]] && REQUEST+=("--partition=$PARTITION")
  [[ -n $ACCOUNT ]] && REQUEST+=("--account=$ACCOUNT")
  [[ -n $QOS ]] && REQUEST+=("--qos=$QOS")
  [[ -n $CONSTRAINT ]] && REQUEST+=("--constraint=$CONSTRAINT")
  if (($2 > 0)); then
    case $GPU_OPTION in
      gres) REQUEST+=("--gres=gpu:$2") ;;
      gpus-per-node) REQUEST+=("--gpus-per-node=$2") ;;
      none) ;; # whole nodes: the partition gives their GPUs without being asked
    esac
  fi
  REQUEST+=(${SBATCH_OPTIONS[@]+"${SBATCH_OPTIONS[@]}"})
}
