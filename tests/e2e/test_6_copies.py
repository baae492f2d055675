"""A third node that joins a living volume, as chapter Copies of docs/operating.md says, and what leaves one."""

import os
import random
import signal
import subprocess
import threading
import time

import demo
from runbook import Runbook
from test_5_failover import same_mail, snapshot
from world import DOMAIN, PASSWORD, unmount, user, wait_for

SLOW = True
VOLUME, NODE = "a1-1", "node-b2"
SIZE = 300_000


def users_of(c, volume, count=6):
    """Whose answers wait for a copy: a mailbox may have been given another durability than its volume's."""
    found = [m["address"] for m in c.pando_json("mailbox", "list")
             if m["volume"] == volume and m["durability"] == "remote"][:count]
    assert found, volume
    return found


def peer(c, node=NODE):
    rows = [row for row in c.lag() if row["volume"] == VOLUME and row["replica"] == node]
    return rows[0] if rows else None


def counts(c, node=NODE):
    row = peer(c, node)
    return row and row["connected"] and not row["seeding"]


def daemons_of(c, node):
    return c.daemon(f"{node}/node"), c.daemon(f"{node}/replicator")


def folder_of(c, node=NODE):
    number = [v["id"] for v in c.pando_json("volume", "list") if v["volume"] == VOLUME][0]
    return os.path.join(c.daemon(f"{node}/node").machine, "data", "volumes", str(number))


def fill_volume(c, users, messages=12):
    for i in range(messages):
        c.send("site-a", users[i % len(users)], size=SIZE)


def gone(c):
    """As before: the node holds no copy."""
    c.postgres_running()
    c.start()
    settled(c)
    c.let_go_of_tails()
    if home_of(c) != "node-a1":
        c.pando("failback", "site-a")
        settled(c)
    c.pando("copy", "remove", VOLUME, NODE, "--accept-one-copy")
    c.heal()


def home_of(c):
    return [v["primary_node"] for v in c.pando_json("volume", "list") if v["volume"] == VOLUME][0]


def settled(c, seconds=60):
    """Served, and all copies that count in step, however many there are."""
    def look():
        rows = c.lag()
        return (all(v["state"] == "primary" for v in c.status()["volumes"]) and
                all(r["connected"] and r["lag_bytes"] == 0 for r in rows if not r["seeding"]))
    c.wait_doors(seconds=seconds)
    wait_for("every volume and its copies", seconds, look)


def refusal(c, *arguments):
    done = subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 1, (arguments, done)
    return done.stdout


def test_what_cannot_be_had_of_copies_is_refused_with_the_reason(c):
    gone(c)
    for arguments, words in ((("add", VOLUME, "node-zz"), "node-zz"),
                             (("add", "no-volume", NODE), "no-volume"),
                             (("remove", VOLUME, "node-a1"), "pando failover a1-1"),
                             (("reseed", VOLUME, "node-a1"), "pando failover a1-1"),
                             (("remove", VOLUME, "node-b1"), "is at site-a only"),
                             (("reseed", VOLUME, "node-b1"), "--accept-one-copy"),
                             (("reseed", VOLUME, NODE), "pando copy add a1-1 node-b2"),
                             (("verify", VOLUME, NODE), "holds no copy")):
        said = refusal(c, "copy", *arguments)
        assert words in said, (arguments, said)
    # Safe to repeat.
    assert "already" in c.pando("copy", "add", VOLUME, "node-b1")
    assert "no copy" in c.pando("copy", "remove", VOLUME, NODE)


def test_a_node_without_room_is_given_no_copy(c):
    if os.getuid() != 0:
        return  # only root can mount
    gone(c)
    before = c.pando_json("volume", "list")
    daemons, folder = daemons_of(c, NODE), os.path.dirname(folder_of(c))
    status = os.stat(folder)
    for daemon in daemons:
        daemon.stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], check=True)
    try:
        os.chown(folder, status.st_uid, status.st_gid)
        for daemon in daemons:
            daemon.start()
        c.wait_nodes()
        said = refusal(c, "copy", "add", VOLUME, NODE)
        assert NODE in said and "make room first" in said, said
        assert before == c.pando_json("volume", "list")
    finally:
        for daemon in daemons:
            daemon.stop()
        unmount(folder)
        for daemon in daemons:
            daemon.start()


def test_a_third_copy_joins_a_living_volume(c):
    gone(c)
    users = users_of(c, VOLUME)
    fill_volume(c, users)
    book = Runbook(c, "Copies")
    before = snapshot(c, "site-a", users)
    book.command("pando copy add a1-1 node-b2 --wait")
    assert counts(c)
    assert "equal" in book.command("pando copy verify a1-1")
    rows = c.pando_json("copy", "verify", VOLUME)
    assert sorted(row["node"] for row in rows) == ["node-b1", NODE], rows
    assert all(row["result"] == "equal" and row["equal_up_to"] >= row["primary_end"] for row in rows), rows
    # The new one serves: nothing is missing, under the old numbers.
    c.pando("failover", VOLUME, "--to", "site-b")
    if home_of(c) != NODE:
        for name in (home_of(c), "node-a1"):
            for daemon in daemons_of(c, name):
                daemon.stop(signal.SIGKILL)
        moved = c.pando_json("failover", VOLUME, "--accept-loss")["volumes"][0]
        assert moved["to"] == NODE and moved["result"] == "served", moved
        c.start()
    settled(c)
    same_mail(before, snapshot(c, "site-b", users))
    gone(c)


def test_a_copy_that_was_removed_and_comes_back_starts_clean(c):
    gone(c)
    users = users_of(c, VOLUME)
    fill_volume(c, users)
    book = Runbook(c, "Copies")
    c.pando("copy", "add", VOLUME, NODE, "--wait")
    folder = folder_of(c)
    number = open(os.path.join(folder, "number")).read()
    book.command("pando copy remove a1-1 node-b2")
    assert peer(c) is None
    assert os.path.exists(os.path.join(folder, "number"))
    book.says("`pando check` says how much it keeps")
    kept = [row for row in c.pando_json("check", check=False) if folder in row["detail"]]
    assert kept and "holds no more" in kept[0]["detail"], kept
    assert VOLUME not in [v["name"] for v in status_of(c, NODE)]
    # What it had is no head start: it may be anything by now.
    for daemon in daemons_of(c, NODE):
        daemon.stop(signal.SIGKILL)
    for name in os.listdir(folder):
        if name.endswith(".log") and not name.startswith("salvage"):
            with open(os.path.join(folder, name), "r+b") as file:
                file.seek(8192)
                file.write(b"rotten")
    c.pando("copy", "add", VOLUME, NODE)
    assert "does not answer" in subprocess.run(
        [demo.PANDO, "--config", c.conf, "copy", "add", VOLUME, NODE], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True).stdout
    c.start()
    c.pando("copy", "add", VOLUME, NODE, "--wait")
    assert open(os.path.join(folder, "number")).read() != number
    wait_for("what was set aside to go", 10,
             lambda: not [n for n in os.listdir(os.path.dirname(folder)) if n.startswith("removed-")])
    assert all(row["result"] == "equal" for row in c.pando_json("copy", "verify", VOLUME))
    # The same for one that is thrown away while it follows.
    number = open(os.path.join(folder, "number")).read()
    book.command("pando copy reseed a1-1 node-b2 --wait")
    assert open(os.path.join(folder, "number")).read() != number
    assert all(row["result"] == "equal" for row in c.pando_json("copy", "verify", VOLUME))
    gone(c)


def status_of(c, node):
    """What a node says of its volumes: by the lists of `pando status`, which names who has a copy."""
    rows = [v for v in c.status()["volumes"] if v["primary"] == node or node in v["copies"]]
    return [{"name": v["volume"]} for v in rows]


def test_a_seeding_copy_counts_as_none(c):
    gone(c)
    users = users_of(c, VOLUME)
    # Its machine is there and its replicator is not: it stays seeding.
    replicator = c.daemon(f"{NODE}/replicator")
    replicator.stop(signal.SIGKILL)
    c.pando("copy", "add", VOLUME, NODE)
    row = peer(c)
    assert row["seeding"] and not row["connected"], row
    said = refusal(c, "check", "--volume", VOLUME)
    assert "seeding" in said and f"pando copy remove {VOLUME} {NODE}" in said, said
    # Nobody waits for it, and it is no choice.
    start = time.monotonic()
    for name in users[:3]:
        c.send("site-a", name)
    assert time.monotonic() - start < 2
    for daemon in daemons_of(c, "node-b1"):
        daemon.stop(signal.SIGKILL)
    plan = c.pando_json("failover", VOLUME, "--dry-run", check=False)["volumes"][0]
    assert plan["to"] != NODE, plan
    # Without the copy that counts, mail is at risk at once: it is answered when that one has been waited for.
    subject = c.send("site-a", users[0])
    assert [m for m in c.pando_json("at-risk", check=False) if m["volume"] == VOLUME], subject
    c.start()
    c.pando("copy", "add", VOLUME, NODE, "--wait")
    assert counts(c)
    gone(c)


def test_a_copy_that_is_ahead_is_not_let_go_of_before_another_one_has_the_same(c):
    gone(c)
    users = users_of(c, VOLUME)
    fill_volume(c, users, 6)
    c.pando("copy", "add", VOLUME, NODE, "--wait")
    settled(c)
    replicator = c.daemon(f"{NODE}/replicator")
    replicator.send(signal.SIGSTOP)
    try:
        # Answered, since the first copy has it; the other one is still taken for one in step.
        c.send("site-a", users[0])
        said = refusal(c, "copy", "remove", VOLUME, "node-b1")
        assert "nothing was changed" in said and "is at site-a only" in said, said
        assert f"its copy at {NODE} " in said and "pando lag" in said, said
    finally:
        replicator.send(signal.SIGCONT)
    settled(c)
    # It waits a moment for a copy that is slow.
    replicator.send(signal.SIGSTOP)
    threading.Timer(1.5, replicator.send, (signal.SIGCONT,)).start()
    c.send("site-a", users[0])
    c.pando("copy", "remove", VOLUME, "node-b1")
    assert peer(c)["lag_bytes"] == 0
    c.pando("copy", "add", VOLUME, "node-b1", "--wait")
    gone(c)


def test_a_copy_at_a_node_that_does_not_answer_is_let_go_of_by_who_means_it(c):
    gone(c)
    c.pando("copy", "add", VOLUME, NODE, "--wait")
    daemons = daemons_of(c, NODE)
    for daemon in daemons:
        daemon.stop(signal.SIGKILL)
    said = refusal(c, "copy", "remove", VOLUME, NODE)
    assert f"{NODE} does not answer" in said and "--accept-one-copy" in said, said
    assert peer(c)
    c.pando("copy", "remove", VOLUME, NODE, "--accept-one-copy")
    assert peer(c) is None
    gone(c)


def test_answers_that_wait_for_a_removed_copy_are_given_at_once(c):
    gone(c)
    users = users_of(c, VOLUME)
    c.send("site-a", users[0])
    replicator = c.daemon("node-b1/replicator")
    replicator.send(signal.SIGSTOP)
    try:
        answered = []

        def send():
            c.send("site-a", users[0], "waits-for-nobody")
            answered.append(time.monotonic())

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(0.3)
        start = time.monotonic()
        c.pando("copy", "remove", VOLUME, "node-b1", "--accept-one-copy")
        removed = time.monotonic()
        sender.join(5)
        # Without the removal it is after remote_wait_ms_max, 2 s.
        assert answered and answered[0] < min(removed + 0.3, start + 1.5), (answered, start, removed)
    finally:
        replicator.send(signal.SIGCONT)
    assert "has no copy" in subprocess.run([demo.PANDO, "--config", c.conf, "at-risk"], stdout=subprocess.PIPE,
                                           stderr=subprocess.STDOUT, text=True).stdout
    c.pando("copy", "add", VOLUME, "node-b1", "--wait")
    c.heal()


def test_a_filling_survives_every_kill(c):
    """SIGKILL of `pando`, of the new node's replicator and node, and of the primary's, at random points."""
    gone(c)
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    print(f"        seed {seed}")
    users = users_of(c, VOLUME)
    fill_volume(c, users, 40)
    before = snapshot(c, "site-a", users)
    home = home_of(c)
    for turn in range(3):
        command = subprocess.Popen([demo.PANDO, "--config", c.conf, "copy", "reseed" if turn else "add", VOLUME, NODE,
                                    "--wait"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for victims in ([f"{NODE}/replicator"], [f"{NODE}/node", f"{NODE}/replicator"],
                        [f"{home}/node", f"{home}/replicator"]):
            time.sleep(dice.random() * 0.2)
            for name in victims:
                c.daemon(name).stop(signal.SIGKILL)
            if dice.random() < 0.5:
                command.kill()
            for name in victims:
                c.daemon(name).start()
        command.kill()
        command.wait()
        c.wait_doors()
        wait_for("the volume to be served", 60, lambda: [
            v for v in c.status()["volumes"] if v["volume"] == VOLUME and v["state"] == "primary"])
        c.pando("copy", "add", VOLUME, NODE, "--wait", timeout=120)
        wait_for("equal copies", 30, lambda: all(
            row["result"] == "equal" for row in c.pando_json("copy", "verify", VOLUME, check=False)))
    c.wait_nodes()
    same_mail(before, snapshot(c, "site-a", users))
    # The new copy alone is left to choose from.
    for daemon in daemons_of(c, home) + daemons_of(c, "node-b1"):
        daemon.stop(signal.SIGKILL)
    moved = c.pando_json("failover", VOLUME, "--accept-loss")["volumes"][0]
    assert moved["to"] == NODE and moved["result"] == "served", moved
    same_mail(before, snapshot(c, "site-b", users))
    c.start()
    gone(c)


def test_a_copy_that_is_filled_counts_though_the_primary_s_node_was_started_meanwhile(c):
    """Its replicator lives, and has the copy's line: what it says of the copy comes before the log is open."""
    settled(c)
    node = c.daemon("node-a1/node")
    for pause_s in (0, 0.1, 0.2, 0.35, 0.5):
        c.pando("copy", "reseed", VOLUME, "node-b1", "--accept-one-copy")
        time.sleep(pause_s)
        node.stop(signal.SIGKILL)
        node.start()
        wait_for("the copy to count", 30, lambda: counts(c, "node-b1"))
    settled(c)


def test_a_copy_is_followed_while_its_node_is_down(c):
    """Its replicator lives: what it confirms is on a second site, and is served there when the node is back."""
    c.heal()
    volume, name = c.home(user(1))["volume"], f"down{os.getpid()}@{DOMAIN}"
    c.pando("mailbox", "add", name, "--volume", volume, "--durability", "strict", "--password", PASSWORD)
    wait_for(name, 5, lambda: c.send("site-a", name))
    [other] = [row["replica"] for row in c.lag() if row["volume"] == volume]
    node = c.daemon(f"{other}/node")
    node.stop()
    try:
        sent, end = [], time.monotonic() + 4
        while time.monotonic() < end:
            # `strict`: there is no 250 without the copy.
            sent.append(c.send("site-a", name))
            time.sleep(0.2)
        assert c.pando_json("at-risk", "--volume", volume, check=False) == []
        [row] = [row for row in c.lag() if row["volume"] == volume]
        assert row["connected"] and row["lag_bytes"] == 0 and row["chain"] == "verified", row
        assert not node.pid()
    finally:
        node.start()
    c.heal()
    c.pando("failover", volume, "--to", "site-b")
    assert set(sent) <= set(c.subjects(name, "site-b"))
    c.heal()
