"""Tasks in worker processes that may die over a file: each is limited, watched, and replaced.

A C library can be made to crash, loop or take all memory by the file it reads. So what reads a file says so first
(`reading`); a worker that dies, or stays in one file for too long, is replaced, its task begins anew, and this time
`reading` refuses that file with a RadarFileError. A damaged file may also leave a worker with a broken heap or without
memory, of which the next file dies: a worker in which one could not be read gets no other task, and if it dies later in
the same task, the damaged file is refused first. No worker outlives the process that started it.

`pool` is the side of the process that has the tasks, `inside` that of a worker, `imports` what workers start with.
"""

from data_prep.workers.inside import LIMITS, Limits, reading
from data_prep.workers.pool import InProcess, Pool, WorkerDiedError, Workers, cores, in_parallel

__all__ = ["LIMITS", "InProcess", "Limits", "Pool", "WorkerDiedError", "Workers", "cores", "in_parallel", "reading"]
