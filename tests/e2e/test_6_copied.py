"""A machine that was copied, and both run: named, and harmless."""

import os
import shutil
import signal
import subprocess
import time

import demo
from world import user, wait_for

# Of the copy: it would begin an epoch by itself after so long.
ALONE_S = 1


def copy_machine(c, name):
    """A clone of the node's machine, at addresses of its own."""
    original = next(d.machine for d in c.daemons() if d.name == f"{name}/node")
    clone = os.path.join(c.folder, f"clone-of-{name}", name)
    shutil.rmtree(os.path.dirname(clone), ignore_errors=True)
    os.makedirs(clone)
    # As a snapshot of a disk that is being written: files may vanish while it is made.
    subprocess.run(["cp", "-a", f"{original}/data", clone], stderr=subprocess.DEVNULL)
    os.mkdir(f"{clone}/run")
    with open(f"{original}/pando.conf") as file:
        lines = file.read().replace(original, clone).splitlines()
    with open(f"{clone}/pando.conf", "w") as file:
        os.fchmod(file.fileno(), 0o600)
        for line in lines:
            key, _, value = line.partition(" = ")
            if key.endswith("_listen"):
                host, _, port = value.rpartition(":")
                value = f"{host}:{int(port) + 50}"
            file.write(f"{key} = {value}\n")
        file.write(f"alone_after_s = {ALONE_S}\n")
    return [demo.Daemon(clone, kind, "clone") for kind in ("replicator", "node")]


def rows(c, word):
    return [row for row in c.pando_json("check", check=False) if word in row["detail"]]


def epochs(c):
    return {v["volume"]: (v["epoch"], v["primary_node"]) for v in c.pando_json("volume", "list")}


def run_beside(c, name):
    """Runs a copy of the machine beside it; what the cluster says meanwhile."""
    before = epochs(c)
    clone = copy_machine(c, name)
    try:
        for daemon in clone:
            daemon.start()
        wait_for("both to be named", 20, lambda: rows(c, f"two processes say that they are {name}"))
        named = rows(c, f"two processes say that they are {name}")
        # Longer than it takes to begin an epoch alone.
        time.sleep(ALONE_S + 2)
        for site in c.sites:
            for i in range(1, 4):
                subject = c.send(site, user(i))
                c.wait_mail(user(i), subject, site)
        assert epochs(c) == before, (before, epochs(c))
        assert c.in_step()
        assert all(row["chain"] == "verified" and row["verified_lsn"] > 0 for row in c.lag()), c.lag()
        assert not c.pando_json("at-risk"), "mail is at risk"
        for daemon in clone:
            assert daemon.pid(), f"{daemon.name} of the copy has ended"
        with open(clone[0].log) as log:
            assert "refused_as_twin" in log.read()
        return named
    finally:
        for daemon in clone:
            daemon.send(signal.SIGKILL)
        for daemon in clone:
            daemon.stop(signal.SIGKILL)


def test_a_copied_machine_of_a_replica_is_refused_named_and_harmless(c):
    named = run_beside(c, "node-b1")
    assert all(row["result"] == "FAILED" and row["what"] == "replicator node-a1" for row in named), named


def test_a_copied_machine_of_a_primary_is_refused_named_and_opens_nothing(c):
    named = run_beside(c, "node-a1")
    assert all(row["result"] == "FAILED" and row["what"] == "replicator node-b1" for row in named), named


def test_a_machine_that_is_moved_is_taken_when_the_old_one_has_stopped(c):
    name = "node-b1"
    clone = copy_machine(c, name)
    old = [d for d in c.daemons() if d.name in (f"{name}/node", f"{name}/replicator")]
    try:
        for daemon in old:
            daemon.stop()
        for daemon in clone:
            daemon.start()
        wait_for("the copy to follow", 30, c.in_step)
        c.wait_mail(user(1), c.send("site-a", user(1)))
    finally:
        for daemon in clone:
            daemon.stop()
    for daemon in old:
        daemon.start()
    c.wait_serving()
    # The old disk lacks what the copy has taken, and is filled up.
    assert all(row["chain"] == "verified" for row in c.lag()), c.lag()


def test_disks_that_were_swapped_between_two_machines_are_named_and_harmless(c):
    names = ("node-a1", "node-b1")
    users = [user(i) for i in range(1, 9)]
    for name in users:
        c.send("site-a", name)
    before = {name: c.mailbox(name)[0] for name in users}
    daemons = [d for d in c.daemons() if d.name.split("/")[0] in names]
    machines = [next(d.machine for d in daemons if d.name.startswith(name)) for name in names]
    for daemon in daemons:
        daemon.stop()
    marks = {d.name: os.path.getsize(d.log) for d in daemons}
    os.rename(f"{machines[0]}/data/volumes", f"{machines[0]}/swapped")
    os.rename(f"{machines[1]}/data/volumes", f"{machines[0]}/data/volumes")
    os.rename(f"{machines[0]}/swapped", f"{machines[1]}/data/volumes")
    for daemon in daemons:
        daemon.start()
    c.wait_serving(seconds=60)
    assert {name: c.mailbox(name)[0] for name in users} == before
    c.wait_mail(user(1), c.send("site-b", user(1)))
    assert all(row["chain"] == "verified" for row in c.lag()), c.lag()
    for name in names:
        told = ""
        for daemon in daemons:
            if daemon.name.startswith(name):
                with open(daemon.log, errors="replace") as log:
                    log.seek(marks[daemon.name])
                    told += log.read()
        assert "copy_moved" in told, f"{name} does not say that its disk was another's"
