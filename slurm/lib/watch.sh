# shellcheck shell=bash
# Keeps an eye on the driver: the time limit, the heartbeat, and its end.

# Epoch second at which Slurm ends this job; 0 when there is no limit. Releases before 23.02
# don't tell it in the environment.
job_end_time() {
  local end=${SLURM_JOB_END_TIME:-}
  if [[ -z $end ]]; then
    end=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e)
    end=$(date -d "$end" +%s 2>/dev/null) || end=0
  fi
  echo "$end"
}

# Asks the trainer to save and exit at its next step boundary.
request_yield() {
  [[ -e $RUN_DIR/YIELD ]] && return 0
  say "asking the trainer to save: $1"
  : >"$RUN_DIR/YIELD"
}

# watch_driver PID: returns when the driver is gone; sets VERDICT (ended, hang, late, setup)
# and DRIVER_CODE.
watch_driver() {
  local driver=$1 end now lead start
  start=$(date +%s)
  end=$(job_end_time)
  VERDICT=ended
  while kill -0 "$driver" 2>/dev/null; do
    now=$(date +%s)
    if ((end > 0)); then
      lead=$(lead_seconds)
      ((lead <= (end - start) / 2)) || lead=$(((end - start) / 2))
      ((now < end - lead)) || request_yield "$((end - now)) s to the time limit"
      ((now < end - TEARDOWN_SECONDS * 2 / 3)) || VERDICT=late
    fi
    [[ -e $RUN_DIR/STOP ]] && note_stop
    is_hanging "$start" "$now" && VERDICT=hang
    if [[ $VERDICT != ended ]]; then
      say "ending the driver: $VERDICT"
      end_steps "$((TEARDOWN_SECONDS / 9 + 1))" "$driver"
      break
    fi
    sleep 1 &
    wait $! # a trap interrupts `wait`, not `sleep`
  done
  wait "$driver"
  DRIVER_CODE=$?
  # The trainer takes the file STOP away; its last word tells when we were too slow to see it.
  tail -n 5 "$LOG_DIR/driver.log" | grep -q 'stopped (file STOP)' && note_stop
}

# STOP means the campaign, not this job: the successors have to know.
note_stop() {
  echo "file STOP, $(date '+%F %T')" >"$SLURM_DIR/STOPPED"
}

# is_hanging START NOW: no heartbeat for too long. Off until the first step of this segment,
# and while the trainer says that it sets up a run or evaluates.
is_hanging() {
  local start=$1 now=$2 beat=0 limit=$HANG_SECONDS
  [[ -e $RUN_DIR/heartbeat ]] && beat=$(stat -c %Y "$RUN_DIR/heartbeat")
  if ((beat < start)); then
    ((SETUP_TIMEOUT_SECONDS > 0 && now - start > SETUP_TIMEOUT_SECONDS))
    return
  fi
  [[ $(heartbeat phase) == train ]] || return 1
  if ((limit == 0)); then
    limit=$((5 * $(heartbeat lead_seconds)))
    ((limit >= MIN_HANG_SECONDS)) || limit=$MIN_HANG_SECONDS
  fi
  ((now - beat > limit))
}
