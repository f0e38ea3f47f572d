#!/usr/bin/env bash
# `apptainer exec [options] IMAGE COMMAND...`: notes its words beside IMAGE, runs the command.
printf '%s\0' "$@" >"$IMAGE_LOG"
while [[ $1 != *.sif ]]; do shift; done
shift
exec "$@"
