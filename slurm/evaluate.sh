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

main() {
  load_state && load_settings "$FROZEN/cluster.env" || exit 1
  [[ -e $RUN_DIR/DONE ]] || { say "$RUN_DIR is not finished"; exit 1; }
  make_runtime
  mkdir -p "$RUN_DIR/logs"
  make_models && run_verb evaluate "${MODELS[@]}" && run_verb analyze "$RUN_DIR"
}

# Fills MODELS, the arguments of `prorl evaluate` that say what to sample, with one process for
# each GPU. What NeMo-RL trained has to be converted first.
make_models() {
  local argument processes=()
  ((GPUS_PER_NODE > 1)) && processes=(--processes "$GPUS_PER_NODE")
  if [[ $ENGINE != nemo ]]; then
    MODELS=(--run "$RUN_DIR" ${processes[@]+"${processes[@]}"})
    return
  fi
  MODELS=(--config "$FROZEN/config.yaml" --out "$RUN_DIR" --model "base=$MODEL" --model "final=$RUN_DIR/hf"
    ${processes[@]+"${processes[@]}"})
  for argument in ${TRAIN_ARGUMENTS[@]+"${TRAIN_ARGUMENTS[@]}"}; do
    [[ $argument == --* ]] || MODELS+=("$argument")
  done
  [[ -e $RUN_DIR/hf ]] || run_verb convert "$RUN_DIR" "$RUN_DIR/hf" --verify
}

run_verb() {
  (run_step "$1" "$RUN_DIR/logs/evaluate-$SLURM_JOB_ID.log" --nodes=1 --ntasks=1 -- "${PRORL[@]}" "$@")
}

main
