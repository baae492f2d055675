"""A machine comes back with less than it confirmed: the runbook of a replaced disk."""

import os
import shutil
import signal
import time

from world import user, wait_for

NODE = "node-a1"


def states(c):
    return [v["state"] for v in c.status()["volumes"] if v["primary"] == NODE]


def replace_disk(c, node):
    """The mail's disk of one machine is a new one; its configuration and keys are there."""
    daemons = [c.daemon(f"{node}/{kind}") for kind in ("node", "replicator")]
    for daemon in daemons:
        daemon.stop(signal.SIGKILL)
    for folder in ("volumes", "index"):
        shutil.rmtree(os.path.join(daemons[0].machine, "data", folder))
    for daemon in daemons:
        daemon.start()


def test_a_node_with_a_new_disk_cuts_nobody_and_one_failover_brings_all_back(c):
    c.heal()
    users = [name for name in map(user, range(1, 41)) if c.home(name)["home"] == NODE][:4]
    assert users
    for name in users:
        c.send("site-b", name)
    before = {name: c.mailbox(name, "site-b") for name in users}
    wait_for("replicas in step", 20, c.in_step)
    replace_disk(c, NODE)
    wait_for("the volumes to stop", 20, lambda: states(c) and set(states(c)) == {"fenced"})
    time.sleep(1)
    # Nobody serves less than was confirmed.
    assert set(states(c)) == {"fenced"}, states(c)
    result = c.pando_json("failover", NODE, "--to", "site-b")
    assert all(v["result"] == "served" for v in result["volumes"]), result
    for name in users:
        mail, (validity, uidnext) = c.mailbox(name, "site-b")
        assert validity == before[name][1][0] and uidnext >= before[name][1][1], name
        assert before[name][0].items() <= mail.items(), name
    # The new disk is filled, and takes its volumes back.
    c.wait_serving(seconds=60)
    c.heal()
    c.send("site-a", users[0])
