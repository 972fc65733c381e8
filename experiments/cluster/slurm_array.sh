#!/bin/bash
# One study by a Slurm array: each task computes its share of the cells, then a job without an array
# assembles the tables. Arguments are those of `ecjax evaluate`:
#
#   sbatch --array=0-31 slurm_array.sh study.toml --out=results
#   sbatch -d afterok:JOB --kill-on-invalid-dep=yes slurm_array.sh study.toml --out=results
#
# JOB is the array's number. It counts from 0 without gaps; 0-31%8 runs eight tasks at a time. With
# GPUs, add --gres=gpu:1 to both lines.
#SBATCH --job-name=ecjax --time=04:00:00 --ntasks=1 --cpus-per-task=8 --mem=32G
#SBATCH --requeue             # by Slurm, where a node is lost or taken away at once
#SBATCH --signal=TERM@60      # before the time is up, to the step: it ends after its cell, with 75
#SBATCH --open-mode=append    # a job that is queued again goes on in its log

export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun no longer takes it from the job
srun ecjax evaluate "$@" \
  ${SLURM_ARRAY_TASK_ID:+--shard="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"}
code=$?
# Interrupted, or (143) told to end while Python starts or ends: Slurm takes a job that ends by itself
# for failed, even if it was being pre-empted.
if (((code == 75 || code == 143) && ${SLURM_RESTART_COUNT:-0} < 100)); then
  # One task of an array has the array's number as its SLURM_JOB_ID, which would mean all of them.
  task=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  scontrol requeue "${task:-$SLURM_JOB_ID}"
fi
exit $code
