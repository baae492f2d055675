"""Chapters of docs/operating.md, word for word: a disk of the queue, a full disk, a directory from a dump, a standby that lacks commits."""

import os
import re
import shutil
import signal
import subprocess

import demo
import world
from runbook import Runbook
from test_5_two_directories import two_servers
from test_8_queue import away, queued
from world import make_message, unmount, user, wait_for

SLOW = True
DISK_SIZE = "176m"


def logged(daemon, event, since=0):
    with open(daemon.log, errors="replace") as file:
        file.seek(since)
        return event in file.read()


def log_size(daemon):
    return os.path.getsize(daemon.log)


def users_at(c, node, count=3):
    users = [name for name in map(user, range(1, 61)) if c.home(name)["home"] == node][:count]
    assert users
    return users


def mail_of(c, users, site="site-b"):
    return {name: c.mailbox(name, site) for name in users}


def nothing_is_lost(c, before, site="site-b"):
    for name, (mail, (validity, uidnext)) in before.items():
        now, (validity_now, uidnext_now) = c.mailbox(name, site)
        assert validity_now == validity and uidnext_now >= uidnext, name
        assert mail.items() <= now.items(), name


def test_the_queues_disk_was_replaced(c):
    c.heal()
    book = Runbook(c, "The queue's disk was replaced")
    router, other = c.daemon("router-a/router"), c.daemon("router-b/router")
    name = user(63)
    node = away(c, name)
    subjects = [c.send("site-a", name) for _ in range(5)]
    ids = {id for _, id in queued(c, "router-b")}
    assert len(ids) == len(subjects), ids
    assert not [m for m in c.pando_json("at-risk", check=False) if m["delivery_id"] in ids]
    book.says("Stop the router if it still runs; mount an empty disk there")
    router.stop(signal.SIGKILL)
    queue = os.path.join(router.machine, "data", "router", "queue")
    shutil.rmtree(queue)
    os.mkdir(queue)
    since = log_size(router), log_size(other)
    book.says("It says `queue_named` with a new identity and opens its door", "they say `queue_adopted`")
    router.start()
    wait_for("its name", 10, lambda: logged(router, "queue_named", since[0]))
    wait_for("its door", 10, lambda: c.raw("site-a").greeting[0] == 220)
    wait_for("the adoption", 30, lambda: logged(other, "queue_adopted", since[1]))
    book.says("shows those messages there with the role `adopted`")
    wait_for("the role", 30, lambda: len(re.findall(r"\badopted\b", book.command("pando queue list", code=None))) == len(ids))
    node.start()
    for subject in subjects:
        c.wait_mail(name, subject, seconds=60)
    book.says("`pando queue list` is empty in the end")
    wait_for("the end", 30, lambda: not queued(c))
    found = c.subjects(name)
    assert all(found.count(subject) == 1 for subject in subjects), found
    c.heal()


def test_a_directory_that_was_dumped_before_a_failover(c):
    """By pg_dump and psql; meanwhile the volumes have moved."""
    c.heal()
    book = Runbook(c, "The directory was put back")
    users = users_at(c, "node-a1")
    url = re.search(r"^directory = (.*)$", open(c.conf).read(), re.M).group(1)
    dump = subprocess.run([f"{demo.POSTGRES_BIN}/pg_dump", "--schema=pando", url], check=True, stdout=subprocess.PIPE, text=True).stdout
    c.pando("failover", "node-a1")
    for name in users:
        c.send("site-a", name)
    before = mail_of(c, users)
    rows = {v["volume"]: (v["primary"], v["epoch"]) for v in c.status()["volumes"]}
    assert any(primary == "node-b1" for primary, _ in rows.values()), rows
    book.says("`psql --single-transaction --set ON_ERROR_STOP=1`")
    restore(url, dump)
    book.says("Whoever serves a volume in a later epoch writes that into the directory by itself")
    wait_for("the directory to be right", 20, lambda: rows == {
        v["volume"]: (v["primary"], v["epoch"]) for v in c.status()["volumes"]})
    book.says("`pando audit`: `directory put right`")
    assert "directory put right" in c.pando("audit")
    wait_for("replicas in step", 20, c.in_step)
    nothing_is_lost(c, before)
    for name in users:
        c.send("site-b", name)
    the_copy_that_is_named_is_the_only_one_left(c, book, users, rows, lambda: restore(url, dump))
    c.heal()


def restore(url, dump):
    """All or nothing, as a daemon may be writing just then: then it is to be done again."""
    for _ in range(5):
        done = subprocess.run([f"{demo.POSTGRES_BIN}/psql", "--single-transaction", "--set", "ON_ERROR_STOP=1", "-qAt", url], text=True,
                              stderr=subprocess.PIPE, input="drop schema pando cascade;" + dump, stdout=subprocess.PIPE)
        if "deadlock detected" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


def the_copy_that_is_named_is_the_only_one_left(c, book, users, rows, put_back):
    """The same dump, and who serves is dead with its site: nobody writes the directory right by himself."""
    before = mail_of(c, users, "site-a")
    wait_for("replicas in step", 20, c.in_step)
    c.stop(signal.SIGKILL, "site-b")
    put_back()
    names = [volume for volume, (primary, _) in rows.items() if primary == "node-b1"]
    refusal = "stays as it is: node-a1: the directory does not name this node for it, or a later epoch has been heard of here"
    for volume in names:
        said = subprocess.run([demo.PANDO, "--config", c.conf, "open", volume, "--alone"], stderr=subprocess.PIPE, text=True)
        assert said.returncode == 1 and refusal in said.stderr, said.stderr
        assert "could not be asked and may have more of it" in book.command("pando failover v1", code=1, v1=volume)
    # The second time its node knows of the later epoch from its log alone.
    node = c.daemon("node-a1/node")
    node.stop(signal.SIGKILL)
    node.start()
    wait_for("the node", 20, lambda: any((d["daemon"], d["name"], d["state"]) == ("node", "node-a1", "up")
                                         for d in c.status()["daemons"]))
    for volume in names:
        book.command("pando failover v1 --accept-loss", v1=volume)
    served = {v["volume"]: v for v in c.status()["volumes"]}
    for volume in names:
        assert served[volume]["state"] == "primary" and served[volume]["primary"] == "node-a1", served[volume]
        assert served[volume]["epoch"] > rows[volume][1], (served[volume], rows)
    nothing_is_lost(c, before, "site-a")
    c.start("site-b")
    c.heal()
    nothing_is_lost(c, before, "site-b")


class SmallDisk:
    """A node's data folder on a file system of its own, which can be filled."""

    def __init__(self, daemons):
        self.daemons, self.folder = daemons, os.path.join(daemons[0].machine, "data")

    def __enter__(self):
        for daemon in self.daemons:
            daemon.stop()
        kept = self.folder + ".kept"
        shutil.copytree(self.folder, kept)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "none", self.folder], check=True)
        subprocess.run(["cp", "-a", kept + "/.", self.folder], check=True)
        shutil.rmtree(kept)
        for daemon in self.daemons:
            daemon.start()
        return self

    def __exit__(self, *_):
        for daemon in self.daemons:
            daemon.stop(signal.SIGKILL)
        unmount(self.folder)

    def grow(self):
        subprocess.run(["mount", "-o", "remount,size=1g", self.folder], check=True)


def test_a_site_whose_disk_is_full(c):
    if os.getuid() != 0:
        return  # only root can make a small disk
    one = world.World(os.path.join(c.folder, "one"), world.free_offset())
    try:
        one.create(["site-a", "site-b"], 1)
        one.start()
        one.wait_serving()
        one.wait_nodes()
        with SmallDisk([one.daemon("node-a1/node"), one.daemon("node-a1/replicator")]) as disk:
            one.wait_serving(seconds=60)
            fill_and_follow(one, disk)
    finally:
        one.end()


def fill_and_follow(c, disk):
    book = Runbook(c, "A disk is full")
    name = user(1)
    volume = c.home(name)["volume"]
    accepted = []
    for _ in range(150):
        subject = c.unique("fill")
        with c.smtp("site-b") as smtp:
            assert not smtp.sendmail("s@example.net", [name], make_message(subject, 2000000))
        accepted.append(subject)
        if queued(c):
            break
    # What the home refuses with 452 waits at the router, with a copy at the other one.
    assert queued(c) and len(accepted) > 10, len(accepted)
    book.says("mail for it waits at the routers")
    said = book.command("pando check", code=1)
    assert re.search(r"^node node-a1 disk \(volumes\) +FAILED", said, re.M), said
    # What is left is for deleting, which is as safe as ever, and for moving away.
    free = os.statvfs(disk.folder)
    assert logged(c.daemon("node-a1/node"), "short_of_room") and free.f_bavail * free.f_frsize > 32 << 20, free
    imap = c.imap("site-a", name)
    imap.select("INBOX")
    assert imap.append("INBOX", None, None, make_message("too much"))[0] == "NO"
    assert imap.store("1", "+FLAGS", "(\\Deleted)")[0] == imap.expunge()[0] == "OK"
    imap.logout()
    accepted.pop(0)
    # Reading goes on.
    before = mail_of(c, [name])
    assert len(before[name][0]) == len(accepted) - len({id for _, id in queued(c)})
    result = book.command("pando failover node-a1", node_a1="node-a1", code=None)
    wait_for("the other site", 30, lambda: all(
        v["primary"] == "node-b1" and v["state"] == "primary" for v in c.status()["volumes"])), result
    assert "clean" in result.lower(), result
    # In one look for all: each reads the whole mailbox.
    wait_for("what was accepted", 60, lambda: set(accepted) <= set(c.subjects(name, "site-b")))
    nothing_is_lost(c, before)
    wait_for("the queues to be empty", 60, lambda: not queued(c))
    # What is delivered now cannot be copied to the full disk; it says so.
    assert volume in book.command("pando at-risk", code=None) or c.send("site-b", name)
    disk.grow()
    book.says("follows by itself")
    wait_for("replicas in step", 60, c.in_step)
    book.command("pando failback site-a")
    wait_for("home again", 30, lambda: all(
        v["primary"] == "node-a1" and v["state"] == "primary" for v in c.status()["volumes"]))
    found = c.subjects(name)
    assert all(found.count(subject) == 1 for subject in accepted)


def test_what_a_full_disk_receives_leaves_room_for_what_is_served_from_it(c):
    if os.getuid() != 0:
        return  # only root can make a small disk
    one = world.World(os.path.join(c.folder, "another"), world.free_offset())
    try:
        one.create(["site-a", "site-b"], 1)
        one.start()
        one.wait_serving()
        one.wait_nodes()
        with SmallDisk([one.daemon("node-b1/node"), one.daemon("node-b1/replicator")]) as disk:
            one.wait_serving(seconds=60)
            fill_from_elsewhere(one, disk)
    finally:
        one.end()


def fill_from_elsewhere(c, disk):
    away, here = users_at(c, "node-a1")[0], "here@" + world.DOMAIN
    c.pando("volume", "add", "b1-1", "--node", "node-b1", "--replica", "node-a1")
    c.pando("mailbox", "add", here, "--volume", "b1-1", "--password", world.PASSWORD)
    wait_for("its mailbox", 20, lambda: c.send("site-b", here))
    wait_for("replicas in step", 60, c.in_step)
    replicator = c.daemon("node-b1/replicator")
    for _ in range(150):
        with c.smtp("site-a") as smtp:
            assert not smtp.sendmail("s@example.net", [away], make_message(c.unique("fill"), 2000000))
        if logged(replicator, "short_of_room"):
            break
    assert logged(replicator, "short_of_room")
    # It would take more.
    for _ in range(8):
        with c.smtp("site-a") as smtp:
            smtp.sendmail("s@example.net", [away], make_message(c.unique("more"), 2000000))
    free = os.statvfs(disk.folder)
    assert free.f_bavail * free.f_frsize > 16 << 20, free
    assert not c.in_step(), c.lag()
    # Who is served there deletes.
    imap = c.imap("site-b", here)
    imap.select("INBOX")
    assert imap.store("1:*", "+FLAGS", "(\\Deleted)")[0] == imap.expunge()[0] == "OK"
    imap.logout()
    disk.grow()
    wait_for("replicas in step", 60, c.in_step)
    assert logged(replicator, "room_again")


def test_a_standby_that_was_promoted_without_the_last_commits(c):
    with two_servers(c, "late") as (late, servers):
        lose_the_last_commits(late, servers)


def lose_the_last_commits(c, servers):
    book = Runbook(c, "The directory was put back")
    book.says("a standby that was promoted without the last commits")
    users = users_at(c, "node-a1")
    # The standby hears nothing any more; its operator does not know.
    with open(os.path.join(servers.data("new"), "postgresql.auto.conf"), "a") as file:
        file.write("primary_conninfo = ''\n")
    servers.psql("new", "select pg_reload_conf()")
    wait_for("the line to be gone", 10, lambda: servers.psql("old", "select count(*) from pg_stat_replication") == "0")
    c.pando("failover", "node-a1")
    late = "late@" + world.DOMAIN
    c.pando("mailbox", "add", late, "--no-password")
    for name in users:
        c.send("site-b", name)
    wait_for("the mailbox", 5, lambda: c.send("site-b", late))
    before = mail_of(c, users)
    rows = {v["volume"]: (v["primary"], v["epoch"]) for v in c.status()["volumes"]}
    node = c.daemon("node-b1/node")
    since = log_size(node)
    servers.stop("old")
    # Who serves finds the standby before it may be written, and nothing happens in its volumes afterwards.
    wait_for("the refusal", 20, lambda: logged(node, "directory_not_told", since))
    servers.psql("new", "select pg_promote()")
    stale = servers.psql("new", "set search_path = pando; select count(*) from volume where epoch = 1")
    assert int(stale) > 0, stale
    wait_for("the directory to be right", 20, lambda: rows == {
        v["volume"]: (v["primary"], v["epoch"]) for v in c.status()["volumes"]} and "directory put right" in c.pando("audit"))
    wait_for("nothing to be stale", 20, lambda: servers.psql(
        "new", "set search_path = pando; select count(*) from volume where epoch = 1") == "0")
    wait_for("replicas in step", 30, c.in_step)
    nothing_is_lost(c, before)
    # A chapter further: what was added after the last commit that came over.
    again = Runbook(c, "The directory was restored from a backup")
    again.command("pando mailbox add anna@example.org", more=("--password", world.PASSWORD), anna_example_org=late)
    again.command("pando mailbox adopt anna@example.org", anna_example_org=late)
    assert c.home(late)["address"] == late
