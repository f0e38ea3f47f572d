# shellcheck shell=bash
# Jobs behind the campaign: evaluation, conversion.

# Submits what `submit.sh --then` asked for; they start once this job has ended well.
submit_followups() {
  local name job
  [[ -r $FROZEN/then ]] || return 0
  while read -r name; do
    if job=$(submit_followup "$name" "--dependency=afterok:$SLURM_JOB_ID"); then
      say "job $job will $name"
    else
      say "could not submit $name: run submit.sh --then $name --now on the login node"
    fi
  done <"$FROZEN/then"
}

# submit_followup NAME [sbatch options]: prints the job id.
submit_followup() {
  local name=$1
  shift
  make_request 1
  case $name in
    evaluate) REQUEST+=(${EVALUATE_OPTIONS[@]+"${EVALUATE_OPTIONS[@]}"}) ;;
    convert) REQUEST+=(${CONVERT_OPTIONS[@]+"${CONVERT_OPTIONS[@]}"}) ;;
  esac
  sbatch --parsable "${REQUEST[@]}" "--job-name=$JOB_NAME-$name" "--chdir=$WORK_DIR" \
    --open-mode=append "--output=${SLURM_DIR//%/%%}/$name-%j.out" "$@" \
    "$FROZEN/$name.sh" "$FROZEN" | tee -a "$SLURM_DIR/followups"
}
