#!/bin/bash
#SBATCH --job-name=reviews
#SBATCH --array=0-3
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60

# With TERM a worker stops asking, waits for the answers on their way and leaves Parquet; killed or
# out of time, its task goes on when this script runs again.
exec batchmill run gateway.toml --shard auto --quiet
