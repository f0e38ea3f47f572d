#!/usr/bin/env bash
# Submits a campaign: freezes it, checks it, and fills the queue with a chain of segments.
# Again: fills the chain up, or goes on with a campaign that stopped.
set -euo pipefail

USAGE='usage: slurm/submit.sh [options] CONFIG [OVERRIDE... and options of prorl train]
       slurm/submit.sh --now NAME RUN_DIR      submit a job behind a finished campaign

  --cluster FILE   settings of the cluster (default: cluster.env beside this script, if any)
  --chain N        segments to keep in the queue (default: CHAIN_LENGTH of the settings)
  --then NAME      evaluate or convert once the campaign is finished; may be repeated
  --dry-run        check everything, show what would be done, and leave nothing behind'

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in settings state runtime chain followups; do
  # shellcheck source=/dev/null
  source "$HERE/lib/$part.sh"
done

main() {
  parse_arguments "$@"
  load_settings "$CLUSTER_FILE"
  CHAIN_LENGTH=${CHAIN:-$CHAIN_LENGTH}
  check_settings
  WORK_DIR=$PWD
  STAGE=$(mktemp -d)
  trap 'rm -rf "$STAGE"' EXIT
  freeze_config
  check_runtime || exit 2
  check_state
  make_request "$NODES" "$GPUS_PER_NODE"
  check_request
  in_checkout -m prorl_nemo.cli plan --config "$STAGE/config.yaml" \
    ${OVERRIDES[@]+"${OVERRIDES[@]}"} || exit 2
  if [[ $DRY_RUN == yes ]]; then
    show_plan
    exit 0
  fi
  freeze
  submit_chain
}

parse_arguments() {
  CLUSTER_FILE='' CHAIN='' DRY_RUN=no THEN=() CONFIG='' TRAIN_ARGUMENTS=()
  [[ -r $HERE/cluster.env ]] && CLUSTER_FILE=$HERE/cluster.env
  while (($# > 0)); do
    case $1 in
      --cluster | --chain | --then) (($# > 1)) || fail "$1: needs a value" ;;&
      --cluster) CLUSTER_FILE=$2 && shift 2 ;;
      --chain) CHAIN=$2 && shift 2 ;;
      --then) check_followup "$2" && THEN+=("$2") && shift 2 ;;
      --now) (($# == 3)) || fail "--now: needs NAME and RUN_DIR" && submit_now "$2" "$3" ;;
      --dry-run) DRY_RUN=yes && shift ;;
      -h | --help) echo "$USAGE" && exit 0 ;;
      -*) fail "$1: no such option; options of prorl train stand behind CONFIG" ;;
      *) CONFIG=$1 && shift && break ;;
    esac
  done
  [[ -n $CONFIG ]] || { echo "$USAGE" >&2 && exit 2; }
  TRAIN_ARGUMENTS=("$@")
}

check_followup() {
  [[ $1 == evaluate || $1 == convert ]] || fail "$1: expected evaluate or convert"
}

# The configuration with its defaults merged, and the facts of it that the scripts need.
freeze_config() {
  local argument facts=()
  OVERRIDES=()
  for argument in ${TRAIN_ARGUMENTS[@]+"${TRAIN_ARGUMENTS[@]}"}; do
    [[ $argument == --* ]] || OVERRIDES+=("$argument")
  done
  in_checkout -m prorl_nemo.slurm.freeze "$CONFIG" "$STAGE/config.yaml" \
    ${OVERRIDES[@]+"${OVERRIDES[@]}"} >"$STAGE/facts" || exit 2
  mapfile -d '' -t facts <"$STAGE/facts"
  RUN_DIR=${facts[0]} ENGINE=${facts[1]} CONFIG_NODES=${facts[2]} CONFIG_GPUS=${facts[3]}
  MODEL=${facts[4]} CONFIG_ENVIRONMENT=("${facts[@]:5}")
  if [[ -n $CONFIG_NODES ]] && ((CONFIG_NODES != NODES)); then
    fail "cluster.num_nodes is $CONFIG_NODES, NODES in the cluster settings is $NODES"
  fi
  if [[ -n $CONFIG_GPUS ]] && ((CONFIG_GPUS != GPUS_PER_NODE)); then
    fail "cluster.gpus_per_node is $CONFIG_GPUS, GPUS_PER_NODE in the cluster settings is $GPUS_PER_NODE"
  fi
  SLURM_DIR=$RUN_DIR/slurm
  JOB_NAME=prorl-$(basename "$RUN_DIR" | tr -c 'A-Za-z0-9._\n-' _)-$(printf %s "$RUN_DIR" | sha256sum | cut -c1-8)
}

# Python of the login node with this checkout's package before any installed one.
in_checkout() {
  PYTHONPATH=$HERE/..${PYTHONPATH:+:$PYTHONPATH} "${LOGIN_PYTHON[@]}" "$@"
}

check_state() {
  [[ ! -e $RUN_DIR/DONE ]] || fail "$RUN_DIR: the campaign is finished"
  [[ ! -e $RUN_DIR/STOP ]] || fail "$RUN_DIR/STOP asks the campaign to stop; remove it to go on"
  case $RUN_DIR$WORK_DIR in
    *$'\n'* | *\\*) fail "a path with a line break or a backslash can't be used" ;; # sbatch --output
  esac
}

# Slurm's own opinion, before anything exists.
check_request() {
  local answer
  if ! answer=$(sbatch --test-only "${REQUEST[@]}" "--chdir=$WORK_DIR" "$HERE/segment.sh" 2>&1); then
    fail "Slurm refuses the request: ${answer//$'\n'/ }"
  fi
}

show_plan() {
  echo "run directory:  $RUN_DIR"
  echo "job name:       $JOB_NAME"
  echo "chain:          $CHAIN_LENGTH segments, one at a time"
  echo "sbatch:        $(printf ' %q' "${REQUEST[@]}")"
  echo "driver:        $(printf ' %q' "${PRORL[@]}" train --config "$SLURM_DIR/NNN/config.yaml" \
    ${TRAIN_ARGUMENTS[@]+"${TRAIN_ARGUMENTS[@]}"})"
  echo "runtime:        $RUNTIME${IMAGE:+ $IMAGE}"
  echo "afterwards:     ${THEN[*]:-nothing}"
  echo "nothing was created or submitted (--dry-run)"
}

# Fills the next SLURM_DIR/NNN, or takes the last one if the campaign is queued already.
freeze() {
  mkdir -p "$SLURM_DIR" "$RUN_DIR/logs"
  fill_stage
  local last number=1
  last=$(newest_frozen "$SLURM_DIR")
  if (($(count_queued PENDING,RUNNING,COMPLETING,SUSPENDED) > 0)); then
    if ! diff -rq --exclude=revision --exclude=__pycache__ "$STAGE/frozen" "$last" >/dev/null; then
      fail "the campaign is in the queue with other settings or code: stop it first (touch $RUN_DIR/STOP)"
    fi
    FROZEN=$last
    return
  fi
  [[ -z $last ]] || number=$((10#${last##*/} + 1))
  FROZEN=$SLURM_DIR/$(printf %03d "$number")
  cp -r "$STAGE/frozen" "$SLURM_DIR/.incomplete-$$"
  mv -T "$SLURM_DIR/.incomplete-$$" "$FROZEN" || fail "another submission of this campaign is under way"
  rm -f "$SLURM_DIR/STALLED" "$SLURM_DIR/STOPPED"
}

newest_frozen() {
  [[ ! -d $1 ]] || find "$1" -maxdepth 1 -type d -name '[0-9][0-9][0-9]' | sort | tail -n 1
}

fill_stage() {
  local target=$STAGE/frozen
  FROZEN=$SLURM_DIR/NNN
  mkdir -p "$target"
  cp -r "$HERE"/{lib,segment.sh,preflight.sh,ray_ready.sh,evaluate.sh,convert.sh} "$target"
  cp "$STAGE/config.yaml" "$target"
  if [[ -n $CLUSTER_FILE ]]; then cp "$CLUSTER_FILE" "$target/cluster.env"; else : >"$target/cluster.env"; fi
  printf 'CHAIN_LENGTH=%q\n' "$CHAIN_LENGTH" >>"$target/cluster.env"
  write_words "$target/state" "$RUN_DIR" "$WORK_DIR" "$ENGINE" "$JOB_NAME" \
    "$(dirname "$(command -v sbatch)")" "$MODEL"
  write_words "$target/train.argv" ${TRAIN_ARGUMENTS[@]+"${TRAIN_ARGUMENTS[@]}"}
  write_words "$target/environment" ${CONFIG_ENVIRONMENT[@]+"${CONFIG_ENVIRONMENT[@]}"}
  printf '%s\n' ${THEN[@]+"${THEN[@]}"} | grep . >"$target/then" || true
  if [[ $FREEZE_CODE == yes ]]; then
    mkdir "$target/code"
    cp -r "$HERE/../prorl_nemo" "$target/code"
    find "$target/code" -name __pycache__ -prune -exec rm -r {} +
  fi
  {
    git -C "$HERE" rev-parse HEAD 2>/dev/null || echo "no git checkout"
    git -C "$HERE" diff HEAD 2>/dev/null || true
  } >"$target/revision"
}

# write_words FILE WORD...: a NUL behind each.
write_words() {
  local file=$1
  shift
  : >"$file"
  (($# == 0)) || printf '%s\0' "$@" >"$file"
}

submit_chain() {
  local before
  before=$(count_submitted)
  top_up_chain "$((CHAIN_LENGTH - $(count_queued RUNNING)))" || fail "sbatch took no segment"
  cancel_if_hopeless
  echo "$(($(count_submitted) - before)) segments submitted; prorl status $(printf %q "$RUN_DIR")"
}

# Where EnforcePartLimits is off, Slurm takes jobs that it will never start.
cancel_if_hopeless() {
  local reason
  sleep 2 # until Slurm has looked at them
  reason=$(squeue --noheader --user="$(id -un)" --name="$JOB_NAME" --states=PENDING --format=%r |
    grep -Em1 'PartitionTimeLimit|PartitionNodeLimit|BadConstraints|InvalidAccount|InvalidQOS|MaxWallDurationPerJobLimit') ||
    return 0
  cancel_successors
  fail "Slurm would never start the jobs ($reason): cancelled"
}

count_submitted() {
  if [[ -e $SLURM_DIR/submitted ]]; then wc -l <"$SLURM_DIR/submitted"; else echo 0; fi
}

submit_now() {
  check_followup "$1"
  local run_dir
  run_dir=$(cd "$2" && pwd) || exit 2
  FROZEN=$(newest_frozen "$run_dir/slurm")
  [[ -n $FROZEN && -e $run_dir/DONE ]] || fail "$2: not a finished campaign that submit.sh started"
  load_state
  load_settings "$FROZEN/cluster.env"
  submit_followup "$1" || fail "sbatch refuses it"
  exit 0
}

fail() {
  echo "submit: $*" >&2
  exit 2
}

main "$@"
