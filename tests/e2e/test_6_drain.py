"""A machine is retired, as chapter Retiring a machine of docs/operating.md says, while mail is delivered."""

import collections
import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time

import demo
from runbook import Runbook
from test_5_decisions import small_index_disk
from test_6_copies import fill_volume, refusal, settled, users_of
from test_5_failover import same_mail, snapshot
from world import wait_for

SLOW = True
NODE = "node-b3"


def machine(c):
    return os.path.join(c.folder, "site-b", NODE)


def own_daemons(c):
    return [demo.Daemon(machine(c), kind, "site-b") for kind in ("replicator", "node")]


def is_up(c, node):
    return {"up"} == {d["state"] for d in c.status()["daemons"] if d["name"] == node}


def join(c):
    """A third node at site-b, of this file alone: nobody else starts or waits for it."""
    shutil.rmtree(machine(c), ignore_errors=True)
    url = [line.split("=", 1)[1].strip() for line in open(c.conf) if line.split("=")[0].strip() == "directory"][0]
    # Its certificates are made once.
    for role in ("node", "replicator"):
        for end in ("pem", "key"):
            path = os.path.join(c.tls, f"{NODE}-{role}.{end}")
            if os.path.exists(path):
                os.remove(path)
    c.write_node("site-b", 3, url)
    for daemon in own_daemons(c):
        daemon.start()
    wait_for("the new node", 20, lambda: is_up(c, NODE))


def part(c, before):
    """As before: the node is not there, and each volume has its copies where they were."""
    if volumes_at(c) > 0:
        c.pando("node", "drain", NODE, "--wait", timeout=120)
    for volume, nodes in copies_of(c).items():
        for node in set(before[volume]) - set(nodes):
            c.pando("copy", "add", volume, node, "--wait")
    c.pando("failback", "site-a")
    settled(c)
    for volume, nodes in copies_of(c).items():
        for node in set(nodes) - set(before[volume]):
            c.pando("copy", "remove", volume, node)
    for daemon in own_daemons(c):
        daemon.stop(signal.SIGKILL)
    if NODE in [n["node"] for n in c.pando_json("node", "list")]:
        c.pando("node", "remove", NODE)
    shutil.rmtree(machine(c), ignore_errors=True)
    c.heal()


@contextlib.contextmanager
def third_node(c):
    """Whatever comes, nothing of it is left."""
    c.heal()
    c.let_go_of_tails()
    before = copies_of(c)
    try:
        join(c)
        try:
            yield
        finally:
            part(c, before)
    finally:
        for daemon in own_daemons(c):
            daemon.stop(signal.SIGKILL)


def give(c, volume, serves=False):
    """The copy of site-b is the new node's."""
    c.pando("copy", "add", volume, NODE, "--wait")
    c.pando("copy", "remove", volume, copies_of(c)[volume][1])
    if serves:
        c.pando("failover", volume, "--to", "site-b")
    settled(c)


def copies_of(c):
    """{volume: [primary, the other copies that count]}"""
    found = {v["volume"]: [v["primary_node"]] for v in c.pando_json("volume", "list")}
    for row in c.lag():
        if not row["seeding"]:
            found[row["volume"]].append(row["replica"])
    return found


def volumes_at(c, node=NODE):
    return sum(row["copies"] for row in c.pando_json("node", "list") if row["node"] == node)


def at_two_sites(c, *volumes):
    for volume in volumes:
        assert {name[5] for name in copies_of(c)[volume]} == {"a", "b"}, copies_of(c)[volume]


class Senders(threading.Thread):
    """Mail all the while; what was answered with 250 is in `sent`."""

    def __init__(self, c, users):
        super().__init__()
        self.c, self.users, self.sent, self.ends, self.errors = c, users, [], False, []

    def run(self):
        while not self.ends:
            user = self.users[len(self.sent) % len(self.users)]
            try:
                self.sent.append((user, self.c.send("site-a", user, size=20_000)))
            except Exception as error:
                self.errors.append(error)
            time.sleep(0.02)

    def end(self):
        self.ends = True
        self.join()
        assert self.sent and not self.errors, (len(self.sent), self.errors[:3])


def each_is_there_once(c, sent):
    wanted = collections.defaultdict(set)
    for user, subject in sent:
        wanted[user].add(subject)
    for user, subjects in wanted.items():
        wait_for(f"all mail of {user}", 20, lambda: subjects <= set(c.subjects(user, "site-b")))
        found = collections.Counter(c.subjects(user, "site-b"))
        assert all(found[subject] == 1 for subject in subjects), user


def test_a_node_is_drained_and_removed_while_mail_is_delivered(c):
    with third_node(c):
        book = Runbook(c, "Retiring a machine")
        users = users_of(c, "a1-1", 3) + users_of(c, "a1-2", 3)
        fill_volume(c, users, 24)
        give(c, "a1-1")
        give(c, "a1-2", serves=True)
        assert copies_of(c)["a1-2"] == [NODE, "node-a1"], copies_of(c)
        assert "copies of the volumes" in refusal(c, "node", "remove", NODE)
        before = snapshot(c, "site-a", users)
        sender = Senders(c, users)
        sender.start()
        said = book.command("pando node drain node-b3 --wait")
        assert "`pando node remove node-b3` works now" in said, said
        sender.end()
        assert volumes_at(c) == 0
        at_two_sites(c, "a1-1", "a1-2")
        # It stayed at its site.
        assert copies_of(c)["a1-2"][0] in ("node-b1", "node-b2"), copies_of(c)
        # Again: there is nothing to do, and it says so.
        row = c.pando_json("node", "drain", NODE, "--wait")
        assert row == {"node": NODE, "dry_run": False, "is_empty": True, "steps": []}, row
        book.command("pando node remove node-b3")
        for daemon in own_daemons(c):
            daemon.stop(signal.SIGKILL)
        each_is_there_once(c, sender.sent)
        after = snapshot(c, "site-b", users)
        for user in before:
            old, new = before[user], after[user]
            assert old[0].items() <= new[0].items() and old[1][0] == new[1][0], user


def test_a_drain_that_is_killed_anywhere_is_completed_by_the_same_command(c):
    with third_node(c):
        seed = 20261127
        dice = random.Random(seed)
        volumes = ("a1-3", "a1-4", "a2-2", "a2-3", "a2-4")
        users = [user for volume in volumes for user in users_of(c, volume, 2)]
        fill_volume(c, users, 40)
        for volume in volumes:
            give(c, volume, serves=volume == "a1-4")
        before = snapshot(c, "site-a", users)
        # Not all at once.
        steps = c.pando_json("node", "drain", NODE)["steps"]
        assert len([row for row in steps if (row["step"], row["result"]) == ("fill", "begun")]) == 4, steps
        kills = 0
        # Each is given a little more time than those before it, so that every stage has its turn.
        while volumes_at(c) > 0 and kills < 16:
            command = subprocess.Popen([demo.PANDO, "--config", c.conf, "node", "drain", NODE, "--wait"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                command.wait(0.05 + dice.random() * 0.2 * (kills + 1))
            except subprocess.TimeoutExpired:
                command.kill()
                command.wait()
                kills += 1
            at_two_sites(c, *volumes)
        print(f"        seed {seed}, killed {kills} times, {volumes_at(c)} copies left")
        assert kills > 0
        c.pando("node", "drain", NODE, "--wait", timeout=180)
        assert volumes_at(c) == 0
        at_two_sites(c, *volumes)
        # Nothing was begun twice.
        assert all(len(copies_of(c)[volume]) == 2 for volume in volumes), copies_of(c)
        settled(c)
        same_mail(before, snapshot(c, "site-b", users))


def test_a_drain_is_refused_or_shown_without_any_change(c):
    with third_node(c):
        volume = "a2-1"
        give(c, volume)
        copies, audit = copies_of(c), len(c.pando_json("audit"))
        # One site only.
        said = refusal(c, "node", "drain", NODE, "--to-site", "site-a")
        assert "nothing was changed" in said and "mail would be at site-a only" in said, said
        assert "--accept-one-copy" in said, said
        # Who is needed and silent.
        other = c.daemon("node-b1/replicator")
        other.stop(signal.SIGKILL)
        said = refusal(c, "node", "drain", NODE, "--to", "node-b1")
        assert "pando-replicator of node-b1 does not answer" in said, said
        other.start()
        # Who is needed and has no room.
        with small_index_disk(c, "node-b1", 80):
            wait_for("node-b1", 20, lambda: is_up(c, "node-b1"))
            said = refusal(c, "node", "drain", NODE, "--to", "node-b1")
            needed = re.search(r"node-b1 has room for 0 MiB, and (\d+) MiB are needed", said)
            assert needed and 1024 <= int(needed.group(1)) < 1536, said
        for arguments, words in (((NODE, "--to", NODE), "is the node that is drained"),
                                 (("node-zz",), "node-zz"), ((NODE, "--to", "node-zz"), "node-zz"),
                                 ((NODE, "--to-site", "site-zz"), "site-zz"),
                                 ((NODE, "--to", "node-b1", "--to-site", "site-b"), "either --to or --to-site")):
            done = subprocess.run([demo.PANDO, "--config", c.conf, "node", "drain", *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            assert done.returncode in (1, 2) and words in done.stdout, (arguments, done)
        settled(c)
        Runbook(c, "Retiring a machine").command("pando node drain node-b3 --dry-run")
        plan = c.pando_json("node", "drain", NODE, "--dry-run")
        assert plan["dry_run"] and not plan["is_empty"], plan
        assert [(row["volume"], row["step"], row["node"]) for row in plan["steps"]] == [
            (volume, "fill", "node-b2"), (volume, "let go", NODE)], plan
        assert copies_of(c) == copies and len(c.pando_json("audit")) == audit
        # Without --wait it ends when all is begun, and goes on when it is run again.
        said = c.pando("node", "drain", NODE)
        assert "pando node drain node-b3" in said or "works now" in said, said
        wait_for("the copies to be filled", 30, lambda: not [row for row in c.lag() if row["seeding"]])
        said = c.pando("node", "drain", NODE)
        assert "works now" in said, said
        assert copies_of(c)[volume] == ["node-a2", "node-b2"], copies_of(c)


def leave_tail(c, volume):
    """As a failover with --accept-loss leaves one there, and that cannot come home yet."""
    number = [v["id"] for v in c.pando_json("volume", "list") if v["volume"] == volume][0]
    path = os.path.join(machine(c), "data", "volumes", str(number), f"salvage-1-{0:016x}-{4096:016x}")
    with open(path + ".report", "w", encoding="utf-8") as file:
        file.write(f"pando-salvage 1\nstate 0\nsince_s {int(time.time())}\nnext_s {int(time.time()) + 3600}\n"
                   "reason it waits\n")
    with open(path + ".log", "wb") as file:
        file.write(bytes(4096))
    return wait_for("the tail", 5, lambda: c.pando_json("salvage", "list", "--node", NODE))[0]["tail"]


def test_what_is_cut_off_while_copies_are_filled_holds_the_drain_up(c):
    with third_node(c):
        volume = "a2-1"
        give(c, volume)
        # Nothing is filled while the primary's replicator stands still.
        replicator = c.daemon("node-a2/replicator")
        replicator.send(signal.SIGSTOP)
        try:
            drain = subprocess.Popen([demo.PANDO, "--config", c.conf, "node", "drain", NODE, "--wait"],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            wait_for("a copy to be filled", 20, lambda: [row for row in c.lag() if row["seeding"]])
            tail = leave_tail(c, volume)
        finally:
            replicator.send(signal.SIGCONT)
        said = drain.communicate(timeout=90)[0]
        assert drain.returncode == 1 and f"what was cut off at {NODE} has not come home" in said, said
        assert "it stops here, and the same command goes on" in said, said
        assert NODE in copies_of(c)[volume] and volumes_at(c) == 1, copies_of(c)
        assert "nothing was changed" in refusal(c, "node", "drain", NODE, "--wait")
        c.pando("salvage", "discard", tail)
        c.pando("node", "drain", NODE, "--wait")
        assert volumes_at(c) == 0


def test_the_copy_that_is_ahead_is_not_drained_before_another_one_has_the_same(c):
    with third_node(c):
        volume = "a2-1"
        users = users_of(c, volume, 2)
        other = copies_of(c)[volume][1]
        c.pando("copy", "add", volume, NODE, "--wait")
        settled(c)
        replicator = c.daemon(f"{other}/replicator")
        replicator.send(signal.SIGSTOP)
        try:
            c.send("site-a", users[0])
            said = refusal(c, "node", "drain", NODE)
            assert "has not confirmed yet" in said or "is not in step" in said, said
            assert volumes_at(c) == 1
        finally:
            replicator.send(signal.SIGCONT)
        settled(c)
        c.pando("node", "drain", NODE, "--wait")
        assert volumes_at(c) == 0
        at_two_sites(c, volume)


def test_a_machine_that_joined_gets_its_part_by_the_commands_of_a_balance(c):
    c.heal()
    assert "nothing to do" in Runbook(c, "Evening the load").command("pando volume balance --dry-run")
    before = copies_of(c)
    with third_node(c):
        plan = c.pando_json("volume", "balance", "--dry-run")
        assert plan == c.pando_json("volume", "balance", "--dry-run")
        assert sorted((row["what"], row["from"], row["to"]) for row in plan["steps"]) == [
            ("copy", "node-b1", NODE), ("copy", "node-b2", NODE)], plan
        assert copies_of(c) == before
        for line in plan["commands"]:
            c.pando(*shlex.split(line)[1:])
        assert volumes_at(c) == 2
        settled(c)
        # A site's copies are 3, 3 and 2 now.
        assert c.pando_json("volume", "balance", "--dry-run") == {"steps": [], "commands": []}
        c.pando("node", "drain", NODE, "--wait")
    assert copies_of(c) == before
