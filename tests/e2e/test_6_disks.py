"""A machine comes back with less than it confirmed, or cannot know whether it has: the runbooks of restarts."""

import glob
import os
import shutil
import signal
import time
from collections import Counter

from world import user, wait_for

NODE = "node-a1"
KINDS = ("node", "replicator")


def volumes_of(c, node=NODE):
    return [v for v in c.status()["volumes"] if v["primary"] == node]


def states(c):
    return {v["state"] for v in volumes_of(c)}


def daemons_of(c, node):
    return [c.daemon(f"{node}/{kind}") for kind in KINDS]


def stop(c, node, how=signal.SIGKILL):
    for daemon in daemons_of(c, node):
        daemon.stop(how)


def start(c, node):
    for daemon in daemons_of(c, node):
        daemon.start()


def forget_boot(c, node):
    """What a machine remembers beside its disk goes with the power."""
    for path in glob.glob(os.path.join(c.daemon(f"{node}/node").machine, "run", "node", "*")):
        os.unlink(path)


def data_of(c, node, folder):
    return os.path.join(c.daemon(f"{node}/node").machine, "data", folder)


def replace_disk(c, node):
    """The mail's disk is a new one; the machine's configuration and keys are there."""
    stop(c, node)
    for folder in ("volumes", "index"):
        shutil.rmtree(data_of(c, node, folder))
    forget_boot(c, node)


def wait_alone_for(c, seconds):
    """How long a start waits for silent copies, in the node's configuration."""
    path = c.daemon(f"{NODE}/node").config
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("alone_after_s")]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines + [f"alone_after_s = {seconds}\n"])


def some_users(c):
    users = [name for name in map(user, range(1, 41)) if c.home(name)["home"] == NODE][:4]
    assert users
    for name in users:
        c.send("site-b", name)
    return users


def expect_all(c, before, through="site-b"):
    for name, (mail, (validity, uidnext)) in before.items():
        now, (validity_now, uidnext_now) = c.mailbox(name, through)
        assert validity_now == validity and uidnext_now >= uidnext, name
        assert mail.items() <= now.items(), name


def test_a_replaced_disk_heals_by_itself(c):
    c.heal()
    users = some_users(c)
    before = {name: c.mailbox(name, "site-b") for name in users}
    wait_for("replicas in step", 20, c.in_step)
    epochs = {v["volume"]: v["epoch"] for v in volumes_of(c)}
    salvage = [row for row in c.pando_json("salvage", "list") if row["node"] != NODE]
    replace_disk(c, NODE)
    start(c, NODE)
    wait_for("the volumes to be served again", 30, lambda: states(c) == {"primary"})
    # In the same epoch, with all that was confirmed, and nobody was cut for it.
    assert epochs == {v["volume"]: v["epoch"] for v in volumes_of(c)}
    expect_all(c, before)
    wait_for("replicas in step", 20, c.in_step)
    for name in users:
        sent = c.send("site-a", name)
        # Nothing comes twice; what stood twice before is a copy that somebody made.
        came = Counter(c.mailbox(name, "site-b")[0].values()) - Counter(before[name][0].values())
        assert [(subject, count) for (subject, _), count in came.items()] == [(sent, 1)], (name, came)
    assert salvage == [row for row in c.pando_json("salvage", "list") if row["node"] != NODE]


def test_an_older_state_of_a_machine_fetches_what_it_lacks(c):
    c.heal()
    users = some_users(c)
    stop(c, NODE, signal.SIGTERM)
    for folder in ("volumes", "index"):
        shutil.copytree(data_of(c, NODE, folder), data_of(c, NODE, folder) + ".kept")
    start(c, NODE)
    c.wait_serving(seconds=30)
    for name in users:
        for _ in range(3):
            c.send("site-a", name)
    before = {name: c.mailbox(name, "site-b") for name in users}
    wait_for("replicas in step", 20, c.in_step)
    replace_disk(c, NODE)
    for folder in ("volumes", "index"):
        os.rename(data_of(c, NODE, folder) + ".kept", data_of(c, NODE, folder))
    start(c, NODE)
    wait_for("the volumes to be served again", 30, lambda: states(c) == {"primary"})
    expect_all(c, before)


def test_a_killed_process_asks_nobody(c):
    c.heal()
    users = some_users(c)
    before = {name: c.mailbox(name, "site-a") for name in users}
    stop(c, NODE)
    c.stop(signal.SIGKILL, "site-b")
    started = time.monotonic()
    start(c, NODE)
    wait_for("the volumes to be served again", 10, lambda: states(c) == {"primary"})
    assert time.monotonic() - started < 10
    expect_all(c, before, "site-a")
    c.start("site-b")
    c.heal()


def test_a_machine_that_cannot_know_stays_closed_and_says_what_decides(c):
    c.heal()
    users = some_users(c)
    before = {name: c.mailbox(name, "site-b") for name in users}
    wait_for("replicas in step", 20, c.in_step)
    names = [v["volume"] for v in volumes_of(c)]
    replace_disk(c, NODE)
    wait_alone_for(c, 2)
    c.stop(signal.SIGKILL, "site-b")
    start(c, NODE)
    wait_for("the volumes to wait", 20, lambda: states(c) == {"opening"})
    for volume in volumes_of(c):
        assert "waits for" in volume["copies"] and "node-b1" in volume["copies"], volume
    failed = [row for row in c.pando_json("check", check=False) if row["result"] == "FAILED"]
    for name in names:
        assert any(f"pando open {name} --alone" in row["detail"] for row in failed), failed
    # The directory is there, and yet nothing is served by itself: the disk is known to be new.
    time.sleep(4)
    assert states(c) == {"opening"}
    c.pando("open", names[0], "--alone")
    assert {v["volume"]: v["state"] for v in volumes_of(c)}[names[0]] == "primary"
    # The other site has everything: what waited heals, what was opened alone keeps its new epoch.
    c.start("site-b")
    c.wait_serving(seconds=60)
    for name in users:
        if c.home(name)["volume"] != names[0]:
            expect_all(c, {name: before[name]})
    rows = c.pando_json("salvage", "list")
    assert any(row["volume"] == names[0] and row["node"] == "node-b1" for row in rows), rows
    c.heal()


def test_a_machine_that_comes_up_alone_waits_and_then_asks_the_directory(c):
    c.heal()
    users = some_users(c)
    before = {name: c.mailbox(name, "site-a") for name in users}
    stop(c, NODE)
    forget_boot(c, NODE)
    wait_alone_for(c, 5)
    c.stop(signal.SIGKILL, "site-b")
    epochs = {v["volume"]: v["epoch"] for v in volumes_of(c)}
    start(c, NODE)
    wait_for("the volumes to be served again", 60, lambda: states(c) == {"primary"})
    # A new epoch of this copy's own, and uids past all that the silent copy may know of.
    for volume in volumes_of(c):
        assert volume["epoch"] > epochs[volume["volume"]], volume
    expect_all(c, before, "site-a")
    c.start("site-b")
    c.heal()
