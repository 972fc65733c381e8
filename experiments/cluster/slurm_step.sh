#!/bin/bash
# One study by one Slurm job of many nodes: its processes find each other, divide the cells, and the
# first assembles the tables. Arguments are those of `ecjax evaluate`:
#
#   sbatch --nodes=4 slurm_step.sh study.toml --out=results
#
# With GPUs, add --gres=gpu:4: the process of a node uses all of them. With --ntasks-per-node=4 as
# well there are four processes, and each uses one.
#SBATCH --job-name=ecjax --time=04:00:00 --ntasks-per-node=1 --cpus-per-task=8 --mem=32G
#SBATCH --requeue             # by Slurm, where a node is lost or taken away at once
#SBATCH --signal=TERM@60      # before the time is up, to all processes: they end with 75
#SBATCH --open-mode=append    # a job that is queued again goes on in its log

export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun no longer takes it from the job
srun ecjax evaluate "$@"
code=$? # the highest of the processes': above 75 where one was killed, as for its memory
# Interrupted, or (143) told to end while Python starts or ends: Slurm takes a job that ends by itself
# for failed, even if it was being pre-empted.
if (((code == 75 || code == 143) && ${SLURM_RESTART_COUNT:-0} < 100)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
