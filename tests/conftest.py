"""What holds for every test."""

import os

# Ray reads these once in a process: all tests that start it must agree. Commands run by the tests of the documentation
# start Ray as a user does.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_worker_niceness", "0")

# Before NumPy and torch are imported: results are compared bit by bit.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
