# shellcheck shell=bash
# What submit.sh froze, and what every part needs to know of it.

# Personal settings of Slurm's commands would hide jobs from us, or ask questions.
unset "${!SQUEUE_@}" "${!SCANCEL_@}" SLURM_TIME_FORMAT

# Reads FROZEN into RUN_DIR, WORK_DIR, ENGINE, JOB_NAME, MODEL, SLURM_DIR, TRAIN_ARGUMENTS and
# CONFIG_ENVIRONMENT (NAME=VALUE of what the configuration takes from the environment).
# Words are stored with a NUL behind each, so that no character is special.
load_state() {
  local words=()
  mapfile -d '' -t words <"$FROZEN/state" || return 1
  RUN_DIR=${words[0]} WORK_DIR=${words[1]} ENGINE=${words[2]} JOB_NAME=${words[3]} MODEL=${words[5]}
  local slurm_bin=${words[4]}
  SLURM_DIR=$RUN_DIR/slurm
  # With --export=NONE even PATH may lack Slurm's commands.
  command -v sbatch >/dev/null || PATH=$PATH:$slurm_bin
  mapfile -d '' -t TRAIN_ARGUMENTS <"$FROZEN/train.argv"
  mapfile -d '' -t CONFIG_ENVIRONMENT <"$FROZEN/environment"
}

say() {
  echo "[$(date '+%F %T')] $*"
}
