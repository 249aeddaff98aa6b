"""Flower's simulation: its message API, its federated averaging, two Ray actors on each of two cores.

With one actor on a core its rounds take a fifth longer: actors wait for messages. A message names the client of the
cohort that its receiver is, so that the same clients train on the same examples as everywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from experiments.benchmarks.rivals import flower_client
from experiments.benchmarks.rivals.work import Work, arguments, mark, save

CORES, ACTORS_A_CORE = 2, 2


class Chosen(FedAvg):
    """Federated averaging with given cohorts."""

    def __init__(self, work: Work) -> None:
        super().__init__(fraction_evaluate=0.0, min_available_nodes=work.clients)
        self._work = work
        self._nodes: list[int] = []

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> Iterable[Message]:
        """A message for each client of the cohort."""
        while len(self._nodes) < self._work.clients:
            self._nodes = sorted(grid.get_node_ids())
        number = server_round - 1
        for place, client in enumerate(self._work.cohorts[number]):
            config = ConfigRecord({"round": number, "place": place})
            content = RecordDict({"arrays": arrays, "config": config})
            yield Message(content, dst_node_id=self._nodes[int(client)], message_type=MessageType.TRAIN)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Flower's own mean; a round in which a client failed ends the run."""
        replies = list(replies)
        failed = [reply.error.reason for reply in replies if reply.has_error()]
        if failed or len(replies) < self._work.cohorts.shape[1]:
            raise RuntimeError(f"{len(replies)} replies, errors: {failed[:1]}")
        result = super().aggregate_train(server_round, replies)
        mark("round")
        return result


def main() -> None:
    """Runs the program."""
    given = arguments()
    os.environ[flower_client.WORK] = str(given.work)
    work = Work.load(given.work)
    server = ServerApp()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:  # noqa: ARG001 - Flower's signature
        start = {name: torch.from_numpy(value) for name, value in work.start.items()}
        mark("start")
        result = Chosen(work).start(grid, ArrayRecord(start), num_rounds=given.rounds)
        final = result.arrays.to_torch_state_dict()
        save(given.final, [final[name].numpy() for name in work.start])

    run_simulation(
        server,
        flower_client.app,
        num_supernodes=work.clients,
        backend_config={
            "client_resources": {"num_cpus": 1 / ACTORS_A_CORE, "num_gpus": 0.0},
            "init_args": {"num_cpus": CORES, "log_to_driver": False},
        },
    )


if __name__ == "__main__":
    main()
