# shellcheck shell=bash
# segments.tsv, one row per segment, and what follows from it: is the campaign getting on?

SEGMENT_COLUMNS=$'job\trestart\tfrozen\tnodes\tgpus\tstarted\tended\toutcome\texit_code\tstep_before\tstep_after\tprogress\tlog'

# Step of the newest checkpoint, or -1.
newest_step() {
  local path newest=-1 step
  for path in "$RUN_DIR"/checkpoints/step_*; do
    step=${path##*step_}
    [[ -d $path && $step =~ ^[0-9]+$ ]] && newest=$((10#$step))
  done
  echo "$newest"
}

# Changes whenever the campaign has gained something that a successor builds on: a checkpoint,
# or samples of the evaluation behind the last step.
progress_mark() {
  local newest bytes=0
  newest=$(newest_step)
  [[ -d $RUN_DIR/evaluation ]] && bytes=$(du -sb "$RUN_DIR/evaluation" | cut -f1)
  if ((newest >= 0)); then
    echo "$newest:$(stat -c %Y "$RUN_DIR/checkpoints/step_$(printf %06d "$newest")"):$bytes"
  else
    echo "none:$bytes"
  fi
}

# Remembers in `current` that this segment runs: a successor finds it if the node dies.
open_segment() {
  local gpus=$((GPUS_PER_NODE * ${SLURM_JOB_NUM_NODES:-NODES}))
  join $'\t' "$SLURM_JOB_ID" "$RESTART" "${FROZEN##*/}" "$SLURM_JOB_NODELIST" "$gpus" \
    "$(date +%s)" "$(newest_step)" "$(progress_mark)" "$LOG_NAME" >"$SLURM_DIR/.current.$SLURM_JOB_ID"
  mv "$SLURM_DIR/.current.$SLURM_JOB_ID" "$SLURM_DIR/current"
}

# close_segment OUTCOME EXIT_CODE [LOG_NAME]: appends the row of the segment in `current`, unless
# that is another than LOG_NAME: a successor may run before we have ended.
close_segment() {
  local outcome=$1 code=$2 job restart frozen nodes gpus started before mark log progress=no
  [[ -r $SLURM_DIR/current ]] || return 0
  IFS=$'\t' read -r job restart frozen nodes gpus started before mark log <"$SLURM_DIR/current"
  [[ ${3:-$log} == "$log" ]] || return 0
  [[ $(progress_mark) != "$mark" ]] && progress=yes
  [[ -e $SLURM_DIR/segments.tsv ]] || echo "$SEGMENT_COLUMNS" >"$SLURM_DIR/segments.tsv"
  join $'\t' "$job" "$restart" "$frozen" "$nodes" "$gpus" "$started" "$(date +%s)" "$outcome" \
    "$code" "$before" "$(newest_step)" "$progress" "$log" >>"$SLURM_DIR/segments.tsv"
  rm -f "$SLURM_DIR/current"
}

# The number of segments since the last one with progress, of this frozen state only: a new
# submission starts with a clean slate.
count_stalled() {
  [[ -r $SLURM_DIR/segments.tsv ]] || { echo 0; return; }
  awk -F '\t' -v frozen="${FROZEN##*/}" '
    NR > 1 && $3 == frozen { stalled = ($12 == "yes") ? 0 : stalled + 1 }
    END { print stalled + 0 }' "$SLURM_DIR/segments.tsv"
}
