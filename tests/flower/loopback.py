"""Flower without its processes: a grid that gives messages to ClientApps in this process.

Messages and replies go through the bytes that Flower sends, so nothing can pass that could not be sent.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedsparse.flower.client_app import app


@dataclass
class Node:
    """A node: an app, its context, and what may happen to its replies."""

    context: Context
    app: ClientApp = app
    on: bool = True
    replies: Callable[[Message, Message], Message | None] = lambda asked, reply: reply
    seen: list[Message] = field(default_factory=list)


class Loopback(Grid):
    """Nodes that answer at once, when somebody looks for answers."""

    def __init__(self, folder: Path, clients: int, **config: str) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = (
            1,
            1,
            1,
        )  # as Flower's process sets it
        self.folder = folder
        self.nodes: dict[int, Node] = {}
        for client in range(clients):
            self.add(100 + client, client, **config)
        self._sent: dict[str, tuple[int, Message]] = {}
        self._numbers = 0

    def add(self, node_id: int, client: int, **config: str) -> Node:
        """One more node, with the folder of that client's device."""
        settings = {"partition-id": client, "state-dir": str(self.folder / f"device-{client}"), **config}
        context = Context(run_id=1, node_id=node_id, node_config=settings, state=RecordDict(), run_config={})
        self.nodes[node_id] = Node(context)
        return self.nodes[node_id]

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def send_and_receive(self, *args: object, **kwargs: object) -> Iterable[Message]:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return [node_id for node_id, node in self.nodes.items() if node.on]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        keys = []
        for message in messages:
            self._numbers += 1
            keys.append(f"message-{self._numbers}")
            message.metadata.__dict__["_message_id"] = keys[-1]
            self._sent[keys[-1]] = (message.metadata.dst_node_id, travelled(message))
        return keys

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = []
        for key in message_ids:
            if key not in self._sent:
                continue
            node_id, message = self._sent[key]
            node = self.nodes.get(node_id)
            if node is None or not node.on:
                continue
            del self._sent[key]
            message.metadata.__dict__["_message_id"] = key
            node.seen.append(message)
            try:
                reply: Message | None = travelled(node.app(message, node.context))
            except Exception as error:  # noqa: BLE001 - as Flower does
                reply = Message(Error(2, f"{type(error).__name__}: {error}"), reply_to=message)
            reply = node.replies(message, reply)
            if reply is not None:
                reply.metadata.__dict__["_reply_to_message_id"] = key
                found.append(reply)
        return found


def travelled(message: Message) -> Message:
    """The message after it was turned into bytes and back."""
    contents = {key: thing.deflate() for key, thing in get_all_nested_objects(message).items()}
    return inflate_object_from_contents(message.object_id, contents)
