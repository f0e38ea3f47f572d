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

# watch_driver PID: returns when the driver is gone; sets VERDICT (ended, hang, late, setup,
# ray) and DRIVER_CODE.
watch_driver() {
  local driver=$1 end now lead start
  start=$(date +%s)
  end=$(job_end_time)
  VERDICT=ended
  BEAT=$(heartbeat_mark) BEAT_AT=$SECONDS HAS_BEATEN=no
  while kill -0 "$driver" 2>/dev/null; do
    now=$(date +%s)
    if ((end > 0)); then
      lead=$(lead_seconds)
      ((lead <= (end - start) / 2)) || lead=$(((end - start) / 2))
      ((now < end - lead)) || request_yield "$((end - now)) s to the time limit"
      ((now < end - TEARDOWN_SECONDS * 2 / 3)) || VERDICT=late
    fi
    [[ -e $RUN_DIR/STOP ]] && note_stop
    follow_heartbeat
    is_each_alive ${RAY_PIDS[@]+"${RAY_PIDS[@]}"} || VERDICT=ray
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

# Sets VERDICT when the heartbeat has stopped. Off until the first step of this segment, and while
# the trainer says that it sets up a run or evaluates. Only changes of the file count: a file
# server's clock is not ours.
follow_heartbeat() {
  local mark limit=$HANG_SECONDS silence
  mark=$(heartbeat_mark)
  if [[ $mark != "$BEAT" ]]; then
    BEAT=$mark BEAT_AT=$SECONDS HAS_BEATEN=yes
  fi
  silence=$((SECONDS - BEAT_AT))
  if [[ $HAS_BEATEN == no ]]; then
    ((SETUP_TIMEOUT_SECONDS == 0 || silence <= SETUP_TIMEOUT_SECONDS)) || VERDICT=setup
    return
  fi
  [[ $(heartbeat phase) == train ]] || return
  if ((limit == 0)); then
    limit=$((5 * $(heartbeat lead_seconds)))
    ((limit >= MIN_HANG_SECONDS)) || limit=$MIN_HANG_SECONDS
  fi
  ((silence <= limit)) || VERDICT=hang
}

heartbeat_mark() {
  stat -c '%i %y' "$RUN_DIR/heartbeat" 2>/dev/null || echo none
}
