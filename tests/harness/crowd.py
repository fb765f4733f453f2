"""Several threads that do something at the same moment, each with a database connection of its own."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection, connections


def at_once(jobs: Iterable[Callable[[], Any]]) -> list[Any]:
    """Begin every job at the same moment, each in a thread of its own. Return what they do; raise what one raises."""
    jobs = list(jobs)
    barrier = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []

    def run(place: int, job: Callable[[], Any]) -> None:
        try:
            with connection.cursor():  # connecting takes longer than all of the rest
                barrier.wait(30)
            results[place] = job()
        except BaseException as error:
            errors.append(error)
            barrier.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it waits for ever"
    if errors:
        raise errors[0]
    return results
