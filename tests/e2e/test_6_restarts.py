"""Commands, machines and directories that stop half way: whatever was confirmed is served again, once, under its uid."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import threading
import time

import demo
from demo import POSTGRES_BIN
from test_6_crashes import History, check_history, sender
from test_6_disks import data_of, forget_boot, replace_disk, start, states, stop, volumes_of, wait_alone_for
from world import user, wait_for

SLOW = True
NODE, OTHER = "node-a1", "node-b1"
SENDERS = 2
PAUSE_S = 0.04
USERS = 4
# What a story may take until all is served again without a further command: a fence of 30 s, then 30 s for silent copies.
SERVED_S = 90
# The lock under which the directory's revisions are made (core/directory/migrations).
FEED_LOCK = 707166543


def psql(c, statement):
    return c.as_postgres(f"{POSTGRES_BIN}/psql", "-q", "-A", "-t", "-h", c.postgres_folder, "-p", str(c.postgres_port()),
                         "-U", "pando", "-d", "pando", "-c", f"set search_path = pando; {statement}").strip()


FEED_LOCKS = (f"select count(*) from pg_locks l join pg_stat_activity a using (pid) where l.locktype = 'advisory' "
              f"and l.classid = 0 and l.objid = {FEED_LOCK} ")


class DirectoryLock:
    """Whoever wants to write in the directory waits."""

    def __init__(self, c):
        self.c = c
        self.holder = subprocess.Popen(
            ["/usr/sbin/runuser", "-u", "postgres", "--"] * (os.getuid() == 0) +
            [f"{POSTGRES_BIN}/psql", "-q", "-h", c.postgres_folder, "-p", str(c.postgres_port()), "-U", "pando", "-d", "pando",
             "-c", f"begin; select pg_advisory_xact_lock({FEED_LOCK}); select pg_sleep(60)"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        wait_for("the lock", 5, lambda: psql(c, FEED_LOCKS + "and l.granted and a.query like '%pg_sleep(60)%'") == "1")

    def wait_wanted(self):
        """By a command that moves volumes, which locks them first: daemons write there as well."""
        wait_for("the command to come to the directory", 15, lambda: psql(
            self.c, FEED_LOCKS + "and not l.granted and exists (select from pg_locks moves where moves.pid = l.pid "
                                 "and moves.locktype = 'advisory' and moves.objsubid = 2 and moves.granted)") == "1")

    def release(self):
        if self.holder.poll() is None:
            psql(self.c, "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)%' "
                         "and pid <> pg_backend_pid()")
        self.holder.wait(10)


class Command:
    """`pando` in the background, which can be killed."""

    def __init__(self, c, *arguments):
        self.process = subprocess.Popen([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)

    def kill(self):
        self.process.kill()
        return self.process.communicate(timeout=10)[0]


def mine(c):
    """Mailboxes on all volumes of the node."""
    volumes = {v["volume"] for v in c.pando_json("volume", "list") if v["preferred_node"] == NODE}
    rows = [m for m in c.pando_json("mailbox", "list") if m["volume"] in volumes and m["address"].startswith("u00")]
    return [m["address"] for m in rows][:USERS]


class Gentle(History):
    """As many messages as a person can wait to have compared."""

    def note(self, subject, name, outcome):
        super().note(subject, name, outcome)
        time.sleep(PAUSE_S)


class Book:
    """Every uid ever seen, at any door: it names one message for ever."""

    def __init__(self):
        self.seen, self.validity, self.uidnext = {}, {}, {}

    def look(self, c, users, sites=("site-a", "site-b")):
        for name in users:
            for site in sites:
                mail, (validity, uidnext) = c.mailbox(name, site)
                assert self.validity.setdefault(name, validity) == validity, f"{name}: another UIDVALIDITY"
                assert self.uidnext.get(name, 0) <= uidnext, f"{name}: UIDNEXT has gone down to {uidnext}"
                self.uidnext[name] = uidnext
                for uid, content in mail.items():
                    before = self.seen.setdefault((name, uid), content)
                    assert before == content, f"{name}: uid {uid} names two messages: {before[0]}, {content[0]}"


@contextlib.contextmanager
def load(c, users, book):
    """Mail in at both doors all the while; at the end everything confirmed stands once, under one uid."""
    c.heal()
    before = {name: c.mailbox(name)[0] for name in users}
    book.look(c, users)
    history, end = Gentle(), threading.Event()
    threads = [threading.Thread(target=sender, args=(c, history, end, i, users)) for i in range(SENDERS)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    try:
        yield history
    finally:
        end.set()
        for thread in threads:
            thread.join()
    c.wait_serving(seconds=SERVED_S)
    check_history(c, history, before, users)
    book.look(c, users)
    assert history.count("ok") > 10, history.count("ok")


def served(c, seconds=SERVED_S):
    wait_for("every volume to be served", seconds, lambda: all(v["state"] == "primary" for v in c.status()["volumes"]))


def processes(c, node, *kinds):
    return [c.daemon(f"{node}/{kind}") for kind in kinds or ("node", "replicator")]


def freeze(daemons):
    for daemon in daemons:
        daemon.send(signal.SIGSTOP)


def thaw(daemons):
    for daemon in daemons:
        daemon.send(signal.SIGCONT)


def rows(c):
    return {v["volume"]: (v["primary"], v["state"], v["epoch"]) for v in c.status()["volumes"] if v["volume"].startswith("a1-")}


def test_a_failover_killed_at_any_moment_leaves_one_writer(c):
    book, users = Book(), mine(c)
    with load(c, users, book):
        for delay in (0.01, 0.03, 0.06, 0.1, 0.15, 0.25):
            for word in (("failover", NODE), ("failback", "site-a")):
                command = Command(c, *word)
                time.sleep(delay)
                command.kill()
        served(c)
        c.pando_json("failback", "site-a", check=False)


def test_a_failover_killed_as_the_directory_goes_away_ends_by_itself(c):
    book, users = Book(), mine(c)
    with load(c, users, book):
        lock = DirectoryLock(c)
        command = Command(c, "failover", NODE)
        try:
            lock.wait_wanted()
            command.kill()
            c.postgres_stop("immediate")
            served(c)
        finally:
            lock.holder.wait(10)
            c.postgres_running()


def test_the_chosen_machine_loses_power_between_the_directory_and_its_opening(c):
    book, users = Book(), mine(c)
    with load(c, users, book):
        lock = DirectoryLock(c)
        command = Command(c, "failover", NODE)
        target = processes(c, OTHER)
        try:
            lock.wait_wanted()
            freeze(target)
            lock.release()
            time.sleep(0.5)
            command.kill()
            stop(c, OTHER)
            forget_boot(c, OTHER)
        finally:
            lock.release()
            thaw(target)
        start(c, OTHER)
        served(c)
        # As the directory said, by another epoch: whoever was held for it is no more.
        assert all(row[0] == OTHER for row in rows(c).values()), rows(c)
    c.heal()


def logged(daemon, word, since):
    with open(daemon.log, errors="replace") as file:
        file.seek(since)
        return word in file.read()


def kill_while_fetching(c, kinds):
    fetcher = c.daemon(f"{NODE}/replicator")
    replace_disk(c, NODE)
    since = os.path.getsize(fetcher.log)
    start(c, NODE)
    wait_for("the fetch", 20, lambda: logged(fetcher, "fetches_back", since))
    for daemon in processes(c, NODE, *kinds):
        daemon.stop(signal.SIGKILL)
    time.sleep(0.3)
    for daemon in processes(c, NODE, *kinds):
        daemon.start()
    served(c)


def test_an_emptied_disk_is_filled_whoever_dies_and_while_the_directory_is_away(c):
    book, users = Book(), mine(c)
    c.heal()
    for _ in range(20):
        c.send("site-a", users[:1], size=1 << 20)
    with load(c, users, book):
        kill_while_fetching(c, ["replicator"])
        c.postgres_stop("immediate")
        try:
            kill_while_fetching(c, ["node"])
        finally:
            c.postgres_running()


COLUMNS = "epoch, reign, primary_node_id, unclean, epoch_start_lsn, token, clean_after, incarnation"


def kept_rows(c):
    return psql(c, "select string_agg(format('update volume set (%s) = (%s, %L, %s, %L, %s, %L, %s, %L) where id = %s', "
                   f"'{COLUMNS}', {COLUMNS}, id), ';') from volume where name like 'a1-%'")


def test_a_directory_put_back_is_put_right_by_who_serves(c):
    book, users = Book(), mine(c)
    c.heal()
    old = kept_rows(c)
    with load(c, users, book):
        c.pando("failover", NODE)
        time.sleep(0.5)
        before = rows(c)
        psql(c, old)
        wait_for("the directory to be put right", 30, lambda: rows(c) == before)
    c.heal()


def volume_ids(c, like="a1-%"):
    return [int(line) for line in psql(c, f"select id from volume where name like '{like}' order by id").split()]


def last_bytes(path):
    """Offset of the last 4 KiB block that is not zero."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        for at in range(size - 4096, -1, -4096):
            file.seek(at)
            if file.read(4096).strip(b"\0"):
                return at
    return -1


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def test_a_flipped_byte_at_the_end_of_a_primary_comes_back_from_its_copy(c):
    book, users = Book(), mine(c)
    with load(c, users, book):
        stop(c, NODE)
        for number in volume_ids(c):
            segments = sorted(glob.glob(os.path.join(data_of(c, NODE, "volumes"), str(number), "0*.log")))
            path = [p for p in segments if last_bytes(p) >= 0][-1]
            flip(path, last_bytes(path) + 200)
        forget_boot(c, NODE)
        start(c, NODE)
        served(c)


def test_one_site_of_two_returns_without_a_directory(c):
    book, users = Book(), mine(c)
    c.heal()
    for name in users:
        c.send("site-b", name)
    # What comes now is at site-b only, as the disk of the other is put back to this moment.
    stop(c, NODE, signal.SIGTERM)
    for folder in ("volumes", "index"):
        shutil.copytree(data_of(c, NODE, folder), data_of(c, NODE, folder) + ".kept")
    start(c, NODE)
    c.wait_serving(seconds=30)
    lost = {name: [c.send("site-a", name) for _ in range(2)] for name in users}
    wait_for("in step", 20, c.in_step)
    book.look(c, users)
    before = {name: c.mailbox(name) for name in users}
    c.stop(signal.SIGKILL)
    c.postgres_stop("immediate")
    for node in ("node-a1", "node-a2", "node-b1", "node-b2"):
        forget_boot(c, node)
    for folder in ("volumes", "index"):
        shutil.rmtree(data_of(c, NODE, folder))
        os.rename(data_of(c, NODE, folder) + ".kept", data_of(c, NODE, folder))
    wait_alone_for(c, 2)
    try:
        c.start("site-a")
        wait_for("the volumes to wait", 20, lambda: states(c) == {"opening"})
        time.sleep(4)
        assert states(c) == {"opening"}, rows(c)
        names = [v["volume"] for v in volumes_of(c)]
        assert all("waits for" in v["copies"] and OTHER in v["copies"] for v in volumes_of(c)), volumes_of(c)
        for name in names:
            c.pando("open", name, "--alone")
        assert states(c) == {"primary"}
        own = {name: row[2] for name, row in rows(c).items()}
        wait_for("the door", 20, lambda: [book.look(c, users, ["site-a"])] and True)
        new = {name: [c.send("site-a", name) for _ in range(3)] for name in users}
        book.look(c, users, ["site-a"])
    finally:
        c.postgres_running()
    wait_for("the directory to learn of it", 30, lambda: all(
        int(psql(c, f"select epoch from volume where name = '{name}'")) > 1 for name in names))
    time.sleep(2)
    c.start("site-b")
    c.wait_serving(seconds=SERVED_S)
    served(c)
    wait_for("the queues to empty", 40, lambda: c.pando_json("queue", "list") == [])
    book.look(c, users)
    for name in users:
        found = c.subjects(name, "site-b")
        assert all(found.count(subject) == 1 for subject in new[name]), (name, new[name], found[-8:])
        mail, (validity, uidnext) = c.mailbox(name)
        assert validity == before[name][1][0] and uidnext >= before[name][1][1]
    salvage = c.pando_json("salvage", "list")
    assert {r["volume"] for r in salvage if r["node"] == OTHER} >= set(names), salvage
    c.heal()
