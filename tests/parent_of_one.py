"""A process with one child that ends with it: `python -m tests.parent_of_one`."""

import multiprocessing
import threading

from api.process_group import end_with_parent


def live_on() -> None:
    """What the child does: it says that it is there, and would stay for ever."""
    end_with_parent()
    print("the child is there", flush=True)  # noqa: T201 - its parent's parent reads it
    threading.Event().wait()


if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=live_on).start()
