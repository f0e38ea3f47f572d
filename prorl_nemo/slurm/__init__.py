"""What the scripts in slurm/ need from Python. Nothing here imports torch."""
