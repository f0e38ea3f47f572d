#!/usr/bin/env bash
# One segment of a campaign: a Slurm job that trains until the schedule is finished, the time
# is up or something breaks, and leaves a successor where there is more to do.
#
#   sbatch [options] segment.sh FROZEN      (submit.sh and the segments themselves call this)
#
# FROZEN is the directory that submit.sh filled; nothing outside it is read but the run
# directory. Slurm runs a copy of this file, so it finds its parts through FROZEN.
set -uo pipefail

FROZEN=$1
unset SLURM_EXPORT_ENV # --export=NONE must not reach the steps
for part in settings state runtime chain ledger watch ray followups; do
  # shellcheck source=/dev/null
  source "$FROZEN/lib/$part.sh" || exit 1
done

main() {
  trap : USR1 # there is nobody to ask yet; watch_driver looks at the time itself
  load_state && load_settings "$FROZEN/cluster.env" || exit 1
  RESTART=${SLURM_RESTART_COUNT:-0}
  LOG_NAME=$SLURM_JOB_ID.$RESTART
  LOG_DIR=$RUN_DIR/logs/$LOG_NAME
  mkdir -p "$LOG_DIR"
  exec >>"$LOG_DIR/segment.log" 2>&1
  leave_unless_needed
  ln -sfn "$LOG_NAME" "$RUN_DIR/logs/latest"
  rm -f "$RUN_DIR/YIELD"
  trap 'request_yield "signal USR1"' USR1
  trap 'on_terminated' TERM
  open_segment
  say "segment of $RUN_DIR on $SLURM_JOB_NODELIST, newest checkpoint: step $(newest_step)"
  top_up_chain "$((CHAIN_LENGTH - 1))" || say "no successor in the queue: will requeue myself"
  make_runtime
  OUTCOME=crashed CODE=1 STEP_PIDS=() RAY_PIDS=() RAY_ENVIRONMENT=()
  run_segment
  end_steps 5 ${STEP_PIDS[@]+"${STEP_PIDS[@]}"}
  finish "$OUTCOME" "$CODE"
}

# Nothing to do, not allowed to, or no use trying: leave without starting the driver.
leave_unless_needed() {
  if [[ -n $(queued_jobs RUNNING) ]]; then
    say "another segment of this campaign is running"
    exit 1
  fi
  wait_for_predecessor
  close_segment lost - # it never closed its row: its node died, or it was killed
  [[ -e $RUN_DIR/STOP ]] && note_stop
  if [[ -e $RUN_DIR/DONE || -e $SLURM_DIR/STOPPED ]]; then
    say "nothing to do: the campaign is finished, or was stopped"
    cancel_successors
    exit 0
  fi
  stop_if_stalled
}

# Slurm starts us while a cancelled predecessor still ends; its trainer may be saving.
wait_for_predecessor() {
  local deadline=$((SECONDS + 90))
  while [[ -n $(queued_jobs COMPLETING) ]] && ((SECONDS < deadline)); do
    sleep 1
  done
}

stop_if_stalled() {
  local stalled
  stalled=$(count_stalled)
  if ((stalled >= MAX_STALLED_SEGMENTS)); then
    say "$stalled segments in a row without progress: giving up"
    echo "$stalled segments in a row without progress; see segments.tsv and logs/" >"$SLURM_DIR/STALLED"
    cancel_successors
    exit 1
  fi
}

# Sets OUTCOME and CODE.
run_segment() {
  if [[ $PREFLIGHT == yes ]] && ! run_preflight; then
    OUTCOME=preflight
    return
  fi
  if is_ray_wanted && ! start_ray; then
    OUTCOME=ray
    return
  fi
  local driver
  say "starting the driver"
  run_step driver "$LOG_DIR/driver.log" --nodes=1 --ntasks=1 "--nodelist=$SLURMD_NODENAME" -- \
    "${PRORL[@]}" train --config "$FROZEN/config.yaml" \
    ${TRAIN_ARGUMENTS[@]+"${TRAIN_ARGUMENTS[@]}"} &
  driver=$!
  STEP_PIDS+=("$driver")
  watch_driver "$driver"
  classify
}

classify() {
  CODE=$DRIVER_CODE
  case $VERDICT:$DRIVER_CODE in
    ended:0 | late:0)
      OUTCOME=yielded
      [[ -e $SLURM_DIR/STOPPED ]] && OUTCOME=stopped
      [[ -e $RUN_DIR/DONE ]] && OUTCOME=finished
      ;;
    ended:*) OUTCOME=crashed ;;
    *) OUTCOME=$VERDICT CODE=1 ;;
  esac
}

is_ray_wanted() {
  [[ $RAY == yes || ($RAY == auto && $ENGINE == nemo) ]]
}

# Excludes the nodes that are unfit from all successors; nonzero if there are any.
run_preflight() {
  local directory=$LOG_DIR/preflight node port=0 bad=()
  mkdir -p "$directory"
  echo "$directory" >"$directory/token"
  is_ray_wanted && port=$RAY_PORT
  timeout "$PREFLIGHT_TIMEOUT_SECONDS" srun --job-name=preflight --overlap \
    "--nodes=$SLURM_JOB_NUM_NODES" "--ntasks=$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --chdir=/ \
    bash "$FROZEN/preflight.sh" "$directory" "$GPUS_PER_NODE" "$MIN_FREE_GB" "$SCRATCH_DIR" \
    "$(date +%s)" "$MAX_CLOCK_SKEW_SECONDS" "$port" </dev/null >>"$LOG_DIR/preflight.log" 2>&1
  for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    [[ -e $directory/$node && ! -s $directory/$node ]] && continue
    bad+=("$node")
    say "$node is unfit: $(cat "$directory/$node" 2>/dev/null || echo "no answer")"
  done
  ((${#bad[@]} == 0)) && return 0
  if ((${#bad[@]} > 1 && ${#bad[@]} == SLURM_JOB_NUM_NODES)); then
    say "every node is unfit: no node is excluded, the settings are suspect"
    return 1
  fi
  for node in "${bad[@]}"; do
    printf '%s\t%s\t%s\t%s\n' "$node" "$(date +%s)" "$LOG_NAME" \
      "$(tr '\n\t' '; ' <"$directory/$node" 2>/dev/null || echo "no answer")" >>"$SLURM_DIR/bad_nodes.tsv"
  done
  exclude_from_successors
  return 1
}

# finish OUTCOME CODE: the ledger, the successors and the jobs behind the campaign.
finish() {
  local outcome=$1 code=$2
  close_segment "$outcome" "$code" "$LOG_NAME"
  say "segment ended: $outcome (exit code $code), newest checkpoint: step $(newest_step)"
  case $outcome in
    finished)
      submit_followups
      cancel_successors
      exit 0
      ;;
    stopped)
      cancel_successors
      exit 0
      ;;
  esac
  stop_if_stalled
  if (($(count_queued PENDING) == 0)) && ! top_up_chain 1; then
    say "requeueing myself"
    scontrol requeue "$SLURM_JOB_ID" || say "requeue refused: run submit.sh again"
  fi
  [[ $outcome == yielded ]] && exit 0
  exit 1
}

# scancel, or preemption: the steps have got the signal as well, Slurm will kill us soon.
# shellcheck disable=SC2317  # called by the trap
on_terminated() {
  trap '' TERM
  say "terminated by Slurm"
  close_segment terminated 143 "$LOG_NAME"
  exit 143
}

main
