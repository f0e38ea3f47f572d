#!/usr/bin/env bash
# Converts the last checkpoint of a finished campaign to a Hugging Face directory, RUN_DIR/hf.
# Submitted by `submit.sh --then convert`; needs no GPU.
set -uo pipefail

FROZEN=$1
unset SLURM_EXPORT_ENV
for part in settings state runtime; do
  # shellcheck source=/dev/null
  source "$FROZEN/lib/$part.sh" || exit 1
done
load_state && load_settings "$FROZEN/cluster.env" || exit 1
[[ -e $RUN_DIR/DONE ]] || { say "$RUN_DIR is not finished"; exit 1; }
if [[ -e $RUN_DIR/hf ]]; then
  say "$RUN_DIR/hf is there already"
  exit 0
fi
make_runtime
log=$RUN_DIR/logs/convert-$SLURM_JOB_ID.log
mkdir -p "${log%/*}"
run_step convert "$log" --nodes=1 --ntasks=1 -- "${PRORL[@]}" convert "$RUN_DIR" "$RUN_DIR/hf" --verify
