# shellcheck shell=bash
# The chain of segments in the queue: same job name, --dependency=singleton, N at a time.

# Job ids of this campaign in the given states, one per line; our own job is left out.
queued_jobs() {
  squeue --noheader --user="$(id -un)" --name="$JOB_NAME" --states="$1" --format=%i |
    awk -v own="${SLURM_JOB_ID:-none}" '$1 != own'
}

count_queued() { queued_jobs "$1" | awk 'END { print NR }'; }

# sbatch; prints the job id. Within a job without what Slurm told that job: the new one would
# inherit it, and its srun obey it.
submit_job() (
  local name
  for name in ${SLURM_JOB_ID:+"${!SLURM_@}"}; do
    [[ $name == SLURM_CONF ]] || unset "$name"
  done
  sbatch --parsable "$@"
)

submit_segment() {
  local excluded
  make_request "$NODES" "$GPUS_PER_NODE"
  excluded=$(bad_nodes)
  [[ -n $excluded ]] && REQUEST+=("--exclude=$excluded")
  submit_job "${REQUEST[@]}" "--job-name=$JOB_NAME" --dependency=singleton --requeue \
    --open-mode=append "--signal=B:USR1@$(signal_seconds)" "--chdir=$WORK_DIR" \
    "--output=${SLURM_DIR//%/%%}/job-%j.out" "$FROZEN/segment.sh" "$FROZEN"
}

# top_up_chain LENGTH: until so many wait; nonzero when some were wanted and not one waits.
top_up_chain() {
  local length=$1 waiting
  waiting=$(count_queued PENDING) || return 1
  while ((waiting < length)); do
    submit_segment >>"$SLURM_DIR/submitted" || break
    waiting=$((waiting + 1))
  done
  ((waiting > 0 || length <= 0))
}

cancel_successors() {
  local jobs=()
  mapfile -t jobs < <(queued_jobs PENDING)
  ((${#jobs[@]} == 0)) || scancel --quiet "${jobs[@]}"
}

# Nodes that failed a preflight, as one list for --exclude.
bad_nodes() {
  [[ -r $SLURM_DIR/bad_nodes.tsv ]] && cut -f1 "$SLURM_DIR/bad_nodes.tsv" | sort -u | paste -sd,
  return 0
}

exclude_from_successors() {
  local job
  for job in $(queued_jobs PENDING); do
    scontrol update "JobId=$job" "ExcNodeList=$(bad_nodes)"
  done
}

# Warning time before the limit: measured by the trainer, or FIRST_LEAD_SECONDS before that.
lead_seconds() {
  local lead=$FIRST_LEAD_SECONDS measured
  measured=$(heartbeat lead_seconds)
  if [[ -n $measured ]]; then
    lead=$((measured + TEARDOWN_SECONDS))
    ((lead >= MIN_LEAD_SECONDS)) || lead=$MIN_LEAD_SECONDS
  fi
  echo "$lead"
}

# Slurm's warning, for a batch script too slow to see it coming. In a job shorter than twice
# the lead it would come at the start, and again in each successor.
signal_seconds() {
  local lead limit
  lead=$(lead_seconds)
  limit=$(limit_seconds "$TIME_LIMIT")
  ((limit == 0 || lead <= limit / 2)) || lead=$((limit / 2))
  echo "$lead"
}

# heartbeat NAME: a word that the trainer left in its heartbeat file, or nothing.
heartbeat() {
  local name value
  [[ -r $RUN_DIR/heartbeat ]] || return 0
  while IFS='=' read -r name value; do
    if [[ $name == "$1" && $value =~ ^[a-z0-9.]+$ ]]; then
      echo "$value"
    fi
  done <"$RUN_DIR/heartbeat"
}
