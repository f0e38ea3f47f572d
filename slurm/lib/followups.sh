# shellcheck shell=bash
# Jobs behind the campaign: evaluation, conversion.

# Submits what `submit.sh --then` asked for; they start once this job has ended well, one
# after the other as both may write RUN_DIR/hf.
submit_followups() {
  local name job after=afterok:$SLURM_JOB_ID
  while read -r name; do
    if job=$(submit_followup "$name" "--dependency=$after"); then
      say "job $job will $name"
      after+=,afterany:$job
    else
      say "could not submit $name: run submit.sh --now $name $(printf %q "$RUN_DIR") on the login node"
    fi
  done < <(sort -u "$FROZEN/then") # convert first
}

# submit_followup NAME [sbatch options]: prints the job id.
submit_followup() {
  local name=$1
  shift
  case $name in
    evaluate)
      make_request 1 "$GPUS_PER_NODE"
      REQUEST+=(${EVALUATE_OPTIONS[@]+"${EVALUATE_OPTIONS[@]}"})
      ;;
    convert)
      make_request 1 0
      REQUEST+=(${CONVERT_OPTIONS[@]+"${CONVERT_OPTIONS[@]}"})
      ;;
  esac
  submit_job "${REQUEST[@]}" "--job-name=$JOB_NAME-$name" "--chdir=$WORK_DIR" \
    --open-mode=append "--output=${SLURM_DIR//%/%%}/$name-%j.out" "$@" \
    "$FROZEN/$name.sh" "$FROZEN" | tee -a "$SLURM_DIR/followups"
}
