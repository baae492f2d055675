"""A machine whose disk fails, or takes no new file any more."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import demo
from test_5_decisions import NODE, OTHER, is_at, names_of
from test_6_power import Disk
from test_6_restarts import Book, load, mine
from world import unmount, wait_for

SLOW = True


@contextlib.contextmanager
def read_only(folder):
    """As the kernel leaves it behind an error of the disk; what is open already can be written."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        unmount(folder)


def said(c, code, *words):
    done = subprocess.run([demo.PANDO, "--config", c.conf, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)
    assert done.returncode == code, (words, done.returncode, done.stdout)
    return done.stdout


def is_named(c, node):
    return any(line.startswith(f"node {node} disk (volumes)") and "FAILED" in line and "read-only" in line
               for line in said(c, 1, "check").splitlines())


def test_a_replica_whose_file_system_is_read_only_is_no_choice(c):
    if os.getuid() != 0:
        return  # only root can mount
    book, users = Book(), mine(c)
    volumes, _ = names_of(c)
    with load(c, users, book):
        epochs = {v["volume"]: v["epoch"] for v in c.status()["volumes"]}
        with read_only(os.path.join(c.daemon(f"{OTHER}/node").machine, "data")):
            wait_for("the disk to be named", 5, lambda: is_named(c, OTHER))
            for words in (("--dry-run",), ("--to", "site-b")):
                assert "read-only" in said(c, 1, "failover", NODE, *words), words
        # Nothing was fenced for it, and nothing began anew.
        assert is_at(c, NODE, volumes)
        assert epochs == {v["volume"]: v["epoch"] for v in c.status()["volumes"]}
    c.heal()


def leave(c, volume):
    """Bytes that had come to the disk at its last moment, and nowhere else, were confirmed to nobody: nothing is accepted
    for them."""
    done = subprocess.run([demo.PANDO, "--config", c.conf, "failover", volume, "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    moved = json.loads(done.stdout)["volumes"][0]
    assert done.returncode == 0, (moved["result"], done.stdout)
    assert moved["result"] == "served" and not moved["clean"], moved
    assert moved["may_be_lost"] == "nothing that was confirmed", moved


def test_a_primary_whose_disk_fails_is_told_from_one_that_is_down(c):
    if os.getuid() != 0:
        return  # only root can make a disk
    book, users = Book(), mine(c)
    volumes, _ = names_of(c)
    disk = Disk(c, NODE)
    try:
        with load(c, users, book):
            disk.fail()
            wait_for("the sentence", 5, lambda: all(any(
                line.startswith(f"volume {volume} ") and "its node answers and writes nothing to it" in line
                for line in said(c, 1, "check").splitlines()) for volume in volumes))
            for volume in volumes:
                leave(c, volume)
            assert is_at(c, OTHER, volumes)
            disk.cut_power()
    finally:
        disk.give_back()
        c.heal()


def test_a_disk_that_has_failed_since_is_no_place_for_a_message(c):
    """A message waits for its copy on a disk that fails under it, and nothing else is written there: it stands nowhere, and
    is not answered for. The router keeps it."""
    if os.getuid() != 0:
        return  # only root can make a disk
    user = mine(c)[0]
    volume = next(m["volume"] for m in c.pando_json("mailbox", "list") if m["address"] == user)
    disk, replicator, subject = Disk(c, NODE), c.daemon(f"{NODE}/replicator"), c.unique("failed")
    try:
        c.heal()
        replicator.send(signal.SIGSTOP)
        sender = threading.Thread(target=c.send, args=("site-a", user, subject))
        sender.start()
        time.sleep(0.5)
        disk.fail()
        sender.join()
        replicator.send(signal.SIGCONT)
        leave(c, volume)
        wait_for("the message", 30, lambda: [s for s, _ in c.mailbox(user)[0].values()].count(subject) == 1)
        disk.cut_power()
    finally:
        replicator.send(signal.SIGCONT)
        disk.give_back()
        c.heal()


def test_a_disk_that_fails_while_nobody_writes_is_named(c):
    """And is no place to move to."""
    if os.getuid() != 0:
        return  # only root can make a disk
    disk = Disk(c, OTHER)
    try:
        c.heal()
        disk.fail()
        wait_for("the failure", 15, lambda: not is_good(c))
        assert any(line.startswith(f"node {OTHER} disk (volumes)") and "does not take what is written to it" in line
                   for line in said(c, 1, "check").splitlines())
        assert "does not take what is written to it" in said(c, 1, "failover", NODE, "--to", "site-b", "--dry-run")
        disk.cut_power()
    finally:
        disk.give_back()
        c.heal()


def folder_of(c, node, volume):
    number = [v["id"] for v in c.pando_json("volume", "list") if v["volume"] == volume][0]
    return os.path.join(c.daemon(f"{node}/node").machine, "data", "volumes", str(number))


def succeeds(c, *words):
    return subprocess.run([demo.PANDO, "--config", c.conf, *words], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, timeout=60).returncode == 0


def is_equal(c, volume):
    return succeeds(c, "copy", "verify", volume)


def is_good(c):
    return succeeds(c, "check")


def test_files_that_are_removed_beneath_a_replica_are_there_again(c):
    """Nobody starts anything anew: what is written to files that nobody finds any more is noticed."""
    volumes, users = names_of(c)
    book, replicator = Book(), c.daemon(f"{OTHER}/replicator")
    since = os.path.getsize(replicator.log)
    with load(c, users, book):
        folder = folder_of(c, OTHER, volumes[0])
        shutil.rmtree(folder)
        wait_for("the copy to be filled anew", 60,
                 lambda: os.path.exists(os.path.join(folder, "told")) and is_equal(c, volumes[0]))
    with open(replicator.log, errors="replace") as log:
        log.seek(since)
        said = [line for line in log if "volume_fenced" in line]
    assert len(said) == 1 and "not at their place any more" in said[0], said
    assert is_at(c, NODE, volumes)
    c.heal()


def test_files_that_are_removed_beneath_a_primary_are_named_and_left(c):
    volumes, users = names_of(c)
    book, volume = Book(), volumes[0]
    with load(c, users, book):
        shutil.rmtree(folder_of(c, NODE, volume))
        wait_for("the failure", 5, lambda: not is_good(c))
        assert any(line.startswith(f"volume {volume} ") and "its node answers and writes nothing to it" in line
                   for line in said(c, 1, "check").splitlines())
        leave(c, volume)
        assert is_at(c, OTHER, [volume])
        wait_for("the copy to be filled anew", 60, lambda: is_equal(c, volume))
    c.heal()
