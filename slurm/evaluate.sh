#!/usr/bin/env bash
# Samples the models of a finished campaign on the benchmarks and writes the report.
# Submitted by `submit.sh --then evaluate`; goes on where it stopped.
set -uo pipefail

FROZEN=$1
unset SLURM_EXPORT_ENV
for part in settings state runtime; do
  # shellcheck source=/dev/null
  source "$FROZEN/lib/$part.sh" || exit 1
done
load_state && load_settings "$FROZEN/cluster.env" || exit 1
[[ -e $RUN_DIR/DONE ]] || { say "$RUN_DIR is not finished"; exit 1; }
make_runtime
log=$RUN_DIR/logs/evaluate-$SLURM_JOB_ID.log
mkdir -p "${log%/*}"
(run_step evaluate "$log" --nodes=1 --ntasks=1 -- "${PRORL[@]}" evaluate --run "$RUN_DIR") &&
  (run_step analyze "$log" --nodes=1 --ntasks=1 -- "${PRORL[@]}" analyze "$RUN_DIR")
