"""PostgreSQL restarted, and `pando` asleep, at the steps of a failover."""

import os
import signal
import time

from demo import POSTGRES_BIN
from test_5_decisions import NODE, OTHER, is_at, names_of
from test_6_restarts import Book, Command, DirectoryLock, freeze, load, logged, mine, processes, served, thaw
from world import DOMAIN, wait_for

SLOW = True
# For which a fence lasts (node/volume).
FENCE_MAX_S = 30


def restart_postgres(c, mode):
    data = os.path.join(c.postgres_folder, "data")
    c.as_postgres(f"{POSTGRES_BIN}/pg_ctl", "-D", data, "-w", "-t", "30", "-s", "-m", mode,
                  "-l", os.path.join(c.postgres_folder, "log"), "restart")


def ends(command, seconds=60):
    said = command.process.communicate(timeout=seconds)[0]
    return command.process.returncode, said


def restarted_while_it_waits_for_the_row(c, mode):
    lock = DirectoryLock(c)
    command = Command(c, "failover", NODE, "--to", "site-b")
    try:
        lock.wait_wanted()
        restart_postgres(c, mode)
    finally:
        lock.holder.wait(10)
    return ends(command)


def restarted_behind_the_fence(c, mode):
    hung, primary = processes(c, OTHER, "replicator"), processes(c, NODE, "node")[0]
    since = os.path.getsize(primary.log)
    freeze(hung)
    try:
        command = Command(c, "failover", NODE, "--to", "site-b")
        wait_for("the fence", 5, lambda: logged(primary, "to=fenced", since))
        restart_postgres(c, mode)
    finally:
        thaw(hung)
    return ends(command)


def test_postgres_is_restarted_in_the_middle_of_a_failover(c):
    book, users = Book(), mine(c)
    volumes, _ = names_of(c)
    with load(c, users, book):
        for stage in (restarted_behind_the_fence, restarted_while_it_waits_for_the_row):
            for mode in ("fast", "immediate"):
                start = time.monotonic()
                code, said = stage(c, mode)
                # A fence that is left behind would hold the volumes up for 30 seconds.
                assert code == 0 and time.monotonic() - start < 15, (stage.__name__, mode, said)
                wait_for("the other site", 5, lambda: is_at(c, OTHER, volumes))
                c.pando("failback", "site-a")
                served(c)


def test_a_command_that_sleeps_decides_nothing_and_holds_nobody_up(c):
    book, users = Book(), mine(c)
    volumes, _ = names_of(c)
    with load(c, users, book):
        lock = DirectoryLock(c)
        command = Command(c, "failover", NODE, "--to", "site-b")
        try:
            lock.wait_wanted()
            command.process.send_signal(signal.SIGSTOP)
            # The sleeper has the lock now.
            lock.release()
            wait_for("the directory to be written", 10, lambda: c.pando(
                "mailbox", "add", f"{c.unique('awake')}@{DOMAIN}", "--no-password") == "")
            time.sleep(FENCE_MAX_S)
            served(c)
        finally:
            lock.release()
            command.process.send_signal(signal.SIGCONT)
        code, said = ends(command)
        assert code == 1 and "nothing was changed, run the command again" in said, said
        assert is_at(c, NODE, volumes), said
