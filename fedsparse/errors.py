"""Every error that fedsparse raises on purpose.

::

    FedSparseError                 catch this one to catch them all
    ├── ConfigError                an unknown key or name, a wrong type, an absurd value        exit status 2
    ├── DataError                  a data set is missing, damaged or does not fit               exit status 3
    ├── RunFolderError             the run folder is in use, or is not one of ours              exit status 4
    ├── CheckpointError            a checkpoint is damaged, or belongs to another run           exit status 5
    ├── ResourceError              out of memory, disk or shared memory                         exit status 6
    ├── WorkerError                a worker raised: a bug in a strategy, a model or a problem   exit status 7
    │   └── WorkerLost             workers died or hung at the same block, again and again      exit status 8
    ├── ProtocolError              a strategy broke the protocol (keys, shapes, dtypes)         exit status 9
    ├── DecodeError                bytes that are not a message of ours                         exit status 10
    ├── Diverged                   the server's state is no longer finite                       exit status 11
    └── Interrupted                a signal stopped the run; it can be resumed                  exit status 130

A message says what happened, the value, what was allowed, and what to do. Each class takes one string, so that
errors travel between processes.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DecodeError",
    "Diverged",
    "FedSparseError",
    "Interrupted",
    "ProtocolError",
    "ResourceError",
    "RunFolderError",
    "WorkerError",
    "WorkerLost",
]


class FedSparseError(Exception):
    """Root of all errors; ``exit_status`` is what the command line ends with."""

    exit_status = 1


class ConfigError(FedSparseError):
    """The configuration names something that does not exist, or has a value that makes no sense."""

    exit_status = 2


class DataError(FedSparseError):
    """A data set is missing, damaged, or does not fit the partition or the model."""

    exit_status = 3


class RunFolderError(FedSparseError):
    """The run folder is used by another run, or holds something else."""

    exit_status = 4


class CheckpointError(FedSparseError):
    """A checkpoint is damaged, unfinished, or was written by another run."""

    exit_status = 5


class ResourceError(FedSparseError):
    """The machine has too little memory, shared memory or disk for the run."""

    exit_status = 6


class WorkerError(FedSparseError):
    """Code of a strategy, model or problem raised an exception on a worker."""

    exit_status = 7


class WorkerLost(WorkerError):
    """Three workers died or hung at the same block of clients, or none could be started."""

    exit_status = 8


class ProtocolError(FedSparseError):
    """A strategy returned something that the protocol does not allow."""

    exit_status = 9


class DecodeError(FedSparseError):
    """Bytes are not a valid message; the text names the field. Nothing else ever leaves the decoder."""

    exit_status = 10


class Diverged(FedSparseError):
    """The server's state has NaN or infinity: the run has nothing left to find."""

    exit_status = 11


class Interrupted(FedSparseError):
    """SIGINT or SIGTERM stopped the run after a complete round; the text says how to go on."""

    exit_status = 130
