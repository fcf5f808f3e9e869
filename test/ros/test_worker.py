"""The one-slot box and its thread: the newest wins, nobody waits, errors do not end it."""

import threading

import pytest

from moonseg3r_ros.worker import Worker

WAIT = 60.0  # seconds; only what hangs takes this long


class Desk:
    """Work that can be held up: it takes an item and waits until the gate is open."""

    def __init__(self):
        self.done, self.errors, self.idled = [], [], 0
        self.gate, self.busy = threading.Event(), threading.Event()
        self.gate.set()
        self.worker = Worker(self.work, self.idle, self.errors.append)

    def work(self, item):
        self.busy.set()
        assert self.gate.wait(WAIT)
        if item == "bad":
            raise ValueError("bad item")
        self.done.append(item)

    def idle(self):
        self.idled += 1
        return None

    def settled(self):
        """What is done once all that was asked for before has been."""
        self.worker.call(lambda: None).result(WAIT)
        return self.done


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.gate.set()
    assert desk.worker.stop(WAIT)


def test_of_many_items_the_newest_is_worked_on_and_the_rest_are_counted(desk):
    desk.gate.clear()
    assert not desk.worker.put(0)
    assert desk.busy.wait(WAIT)  # 0 is out of the box, being worked on
    dropped = [desk.worker.put(item) for item in range(1, 6)]
    desk.gate.set()
    assert dropped == [False, True, True, True, True]
    last = threading.Event()
    desk.worker.call(lambda: None).result(WAIT)
    desk.worker.call(last.set).result(WAIT)
    while 5 not in desk.done:
        desk.worker.call(lambda: None).result(WAIT)
    assert desk.done == [0, 5]


def test_jobs_are_done_in_order_and_before_the_next_item(desk):
    desk.gate.clear()
    desk.worker.put("first")
    assert desk.busy.wait(WAIT)
    desk.worker.put("second")
    jobs = [desk.worker.call(lambda n=n: desk.done.append(n)) for n in range(3)]
    desk.gate.set()
    for job in jobs:
        job.result(WAIT)
    while "second" not in desk.done:
        desk.settled()
    assert desk.done == ["first", 0, 1, 2, "second"]


def test_an_error_in_the_work_is_told_and_the_next_item_is_worked_on(desk):
    desk.worker.put("bad")
    while not desk.errors:
        desk.settled()
    desk.worker.put("good")
    while not desk.done:
        desk.settled()
    assert desk.done == ["good"]
    assert [str(error) for error in desk.errors] == ["bad item"]


def test_an_error_in_a_job_is_its_callers(desk):
    with pytest.raises(ZeroDivisionError):
        desk.worker.call(lambda: 1 / 0).result(WAIT)
    assert desk.settled() == []
    assert not desk.errors


def test_what_was_cleared_is_not_worked_on(desk):
    desk.gate.clear()
    desk.worker.put("first")
    assert desk.busy.wait(WAIT)
    desk.worker.put("second")
    desk.worker.clear()
    desk.gate.set()
    assert desk.settled() == ["first"]
    assert desk.settled() == ["first"]


def test_idle_is_called_again_when_it_asks_for_it():
    times = threading.Semaphore(0)
    waits = iter([0.0, 0.0])

    def idle():
        times.release()
        return next(waits, None)

    worker = Worker(print, idle, print)
    worker.call(lambda: None)
    assert all(times.acquire(timeout=WAIT) for _ in range(3))
    assert worker.stop(WAIT)


def test_stop_tells_whether_the_work_ended_and_cancels_what_waits():
    desk = Desk()
    desk.gate.clear()
    desk.worker.put("long")
    assert desk.busy.wait(WAIT)
    waiting = desk.worker.call(lambda: "never")
    assert not desk.worker.stop(0.01)
    desk.gate.set()
    assert desk.worker.stop(WAIT)
    assert waiting.cancelled()
    assert desk.worker.call(lambda: "never").cancelled()
