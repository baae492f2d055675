"""Disasters that no chapter names: small files that rotted, an older or exchanged index, a cleared run_dir."""

import glob
import os
import shutil
import signal

from test_6_disks import data_of, forget_boot, start, stop
from test_6_restarts import Book, load, mine, served, volume_ids
from world import wait_for

SLOW = True
NODE, OTHER = "node-a1", "node-b1"


def flip_middle(path, at=None):
    size = os.path.getsize(path)
    assert size, path
    at = size // 2 if at is None else at
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def run_files(c, node):
    return [p for p in glob.glob(os.path.join(c.daemon(f"{node}/node").machine, "run", "**"), recursive=True)
            if os.path.isfile(p)]


def rot_small_files(c, node, name, keep_boot=True):
    """One bit of one small file of every volume of a machine that was killed."""
    book, users = Book(), mine(c)
    with load(c, users, book):
        stop(c, node)
        for number in volume_ids(c):
            path = os.path.join(data_of(c, node, "volumes"), str(number), name)
            flip_middle(path)
        if not keep_boot:
            forget_boot(c, node)
        start(c, node)
        served(c)
        wait_for("in step", 30, c.in_step)


def test_epochs_of_a_primary_rot(c):
    rot_small_files(c, NODE, "epochs")


def test_told_of_a_primary_rots(c):
    rot_small_files(c, NODE, "told")


def test_copy_of_a_primary_rots(c):
    rot_small_files(c, NODE, "copy")


def test_epochs_of_a_replica_rot(c):
    rot_small_files(c, OTHER, "epochs")


def test_copy_of_a_replica_rots(c):
    rot_small_files(c, OTHER, "copy")


def test_told_of_a_replica_rots_as_its_power_fails(c):
    rot_small_files(c, OTHER, "told", False)


def test_witness_rots(c):
    book, users = Book(), mine(c)
    with load(c, users, book):
        stop(c, NODE)
        files = [p for p in run_files(c, NODE) if os.path.getsize(p)]
        for path in files:
            for at in range(0, min(os.path.getsize(path), 128), 8):
                flip_middle(path, at)
        start(c, NODE)
        served(c)


def test_run_dir_is_cleared_while_all_runs(c):
    book, users = Book(), mine(c)
    with load(c, users, book):
        for node in (NODE, OTHER):
            for path in glob.glob(os.path.join(c.daemon(f"{node}/node").machine, "run", "*")):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        c.pando("failover", NODE)
        served(c)
        c.pando("failback", "site-a")
        served(c)
        # What this boot wrote is forgotten, so the node has to ask; the replicator's socket went too, and is made again.
        c.daemon(f"{NODE}/node").stop(signal.SIGKILL)
        c.daemon(f"{NODE}/node").start()
        served(c)


def test_a_node_whose_replicator_is_away_says_which_daemon_to_restart(c):
    book, users = Book(), mine(c)
    with load(c, users, book):
        for kind in ("node", "replicator"):
            c.daemon(f"{NODE}/{kind}").stop(signal.SIGKILL)
        for path in run_files(c, NODE):
            os.unlink(path)
        c.daemon(f"{NODE}/node").start()
        wait_for("the check to say so", 20, lambda: any(
            "its replicator does not answer; restart pando-replicator on its node" in row["detail"] for row in c.pando_json("check", check=False)))
        c.daemon(f"{NODE}/replicator").start()
        served(c)


def test_an_older_index_is_put_back(c):
    book, users = Book(), mine(c)
    c.heal()
    for name in users:
        c.send("site-a", name)
    stop(c, NODE, signal.SIGTERM)
    index = data_of(c, NODE, "index")
    shutil.copytree(index, index + ".kept")
    start(c, NODE)
    # What is removed now is known to the log, and not to the older index.
    for name in users:
        imap = c.imap("site-a", name)
        imap.select("INBOX")
        imap.uid("STORE", "1:3", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.logout()
    with load(c, users, book):
        stop(c, NODE)
        shutil.rmtree(index)
        os.rename(index + ".kept", index)
        start(c, NODE)
        served(c)
        book.look(c, users)
        c.pando("failover", NODE)
        served(c)
    c.heal()


def test_an_index_of_another_volume(c):
    """Two indexes exchanged by a restore."""
    book, users = Book(), mine(c)
    c.heal()
    for name in users:
        c.send("site-a", name)
    with load(c, users, book):
        stop(c, NODE)
        index = data_of(c, NODE, "index")
        one, two = volume_ids(c)[:2]
        for path in glob.glob(os.path.join(index, "*-wal")) + glob.glob(os.path.join(index, "*-shm")):
            os.unlink(path)
        names = [os.path.join(index, f"{number}.sqlite") for number in (one, two)]
        os.rename(names[0], names[0] + ".x")
        os.rename(names[1], names[0])
        os.rename(names[0] + ".x", names[1])
        start(c, NODE)
        served(c)
