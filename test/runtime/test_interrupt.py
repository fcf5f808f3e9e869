"""A signal waits for the end of a block, a second one need not, and child processes may ignore both."""

import signal
import subprocess
import sys
import threading

import pytest

from moonseg3r_core.runtime.interrupt import defer_interrupts, ignore_sigint


@pytest.fixture(autouse=True)
def handlers():
    """Every block puts the former handlers back."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deferred_interrupt_comes_at_the_end_of_its_block(number):
    done = []
    with pytest.raises(KeyboardInterrupt), defer_interrupts() as received:  # noqa: PT012
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.append("the rest")
    assert done == ["the rest"]
    assert received == [number, number]


def test_a_second_interrupt_need_not_wait():
    with pytest.raises(KeyboardInterrupt), defer_interrupts(once=True) as received:  # noqa: PT012
        assert not received
        signal.raise_signal(signal.SIGINT)
        assert received
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal came")


def test_an_error_inside_the_block_comes_first():
    with pytest.raises(ValueError, match="worse"), defer_interrupts():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        raise ValueError("worse")


def test_processes_that_start_inside_the_block_ignore_ctrl_c():
    """A process that renders outlives the Ctrl-C, so that the step that waits for it can end."""
    code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    with ignore_sigint():
        assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "True"


def test_other_threads_change_no_handler():
    def work():
        with defer_interrupts(), ignore_sigint():
            done.append(signal.getsignal(signal.SIGINT))

    done = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGINT)]
