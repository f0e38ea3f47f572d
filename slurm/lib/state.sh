# shellcheck shell=bash
# What submit.sh froze, and what every part needs to know of it.

# Reads FROZEN into RUN_DIR, WORK_DIR, ENGINE, JOB_NAME, SLURM_DIR and
# TRAIN_ARGUMENTS.
# The values are words of `state`, one behind a NUL each, so that no character is special.
load_state() {
  local words=()
  mapfile -d '' -t words <"$FROZEN/state" || return 1
  RUN_DIR=${words[0]} WORK_DIR=${words[1]} ENGINE=${words[2]} JOB_NAME=${words[3]}
  local slurm_bin=${words[4]}
  SLURM_DIR=$RUN_DIR/slurm
  # With --export=NONE even PATH may lack Slurm's commands.
  command -v sbatch >/dev/null || PATH=$PATH:$slurm_bin
  mapfile -d '' -t TRAIN_ARGUMENTS <"$FROZEN/train.argv"
}

say() {
  echo "[$(date '+%F %T')] $*"
}
