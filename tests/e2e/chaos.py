#!/usr/bin/python3
"""Faults at random under load, for as long as you like: tests/run --only chaos --minutes N [--seed S].

Senders (SMTP at every router, IMAP APPEND) go on while daemons are killed, stopped and frozen, PostgreSQL goes
away, indexes are deleted, sites burn and are failed over and back. Between two faults the cluster has to be in
step again; every few faults and at the end the history is checked. The last line is `N passed, N failed`: one
case per fault."""

import argparse
import glob
import imaplib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_6_crashes as crashes  # noqa: E402
import world  # noqa: E402

# Faults between two checks of the history, which reads every mailbox at every site.
FAULTS_PER_CHECK = 8
IN_STEP_SECONDS = 60


def appender(c, history, stop, number):
    """A client that files messages by APPEND: OK is a promise as 250 is."""
    chance = random.Random(number)
    while not stop.is_set():
        name, subject = chance.choice(crashes.USERS), c.unique(f"append{number}")
        try:
            imap = c.imap(chance.choice(c.sites), name)
        except (imaplib.IMAP4.error, OSError):
            time.sleep(0.05)
            continue
        try:
            status, _ = imap.append("INBOX", None, None, world.make_message(subject, chance.choice((0, 5000))))
            history.note(subject, name, "ok" if status == "OK" else "failed")
            imap.logout()
        except (imaplib.IMAP4.error, OSError):
            if subject not in history.outcome:
                history.note(subject, name, "indeterminate")


class Chaos:
    def __init__(self, cluster, seed):
        self.c, self.chance = cluster, random.Random(seed)
        self.uids = {}  # (mailbox, uid) -> subject, ever seen

    def pause(self, least, most):
        time.sleep(self.chance.uniform(least, most))

    def daemon(self):
        return self.chance.choice(self.c.daemons())

    def killed(self):
        daemon = self.daemon()
        daemon.stop(signal.SIGKILL)
        self.pause(0, 2)
        daemon.start()
        return daemon.name

    def stopped(self):
        daemon = self.daemon()
        daemon.stop(signal.SIGTERM)
        self.pause(0, 1)
        daemon.start()
        return daemon.name

    def frozen(self):
        daemon = self.daemon()
        daemon.send(signal.SIGSTOP)
        self.pause(0.2, 8)
        daemon.send(signal.SIGCONT)
        return daemon.name

    def killed_in_turn(self):
        daemons = self.c.daemons(self.chance.choice(self.c.sites))
        for daemon in daemons:
            daemon.stop(signal.SIGKILL)
            daemon.start()
            self.pause(0, 0.3)
        return daemons[0].site

    def postgresql_away_while_a_daemon_is_killed(self):
        self.c.postgres_stop("immediate")
        self.pause(0, 2)
        name = self.killed()
        self.pause(0, 4)
        self.c.postgres_start()
        return name

    def index_deleted(self):
        daemon = self.chance.choice([d for d in self.c.daemons() if d.kind == "node"])
        daemon.stop(signal.SIGKILL)
        for path in glob.glob(os.path.join(daemon.machine, "**", "index", "*"), recursive=True):
            os.remove(path)
        daemon.start()
        return daemon.name

    def site_burned_and_failed_over(self):
        self.c.stop(signal.SIGKILL, "site-a")
        self.c.pando("failover", "site-a", "--to", "site-b")
        self.pause(0, 3)
        self.c.start("site-a")
        self.c.wait_serving(seconds=IN_STEP_SECONDS)
        self.c.pando("failback", "site-a")
        return ""

    def site_frozen_and_failed_over(self):
        for daemon in self.c.daemons("site-a"):
            daemon.send(signal.SIGSTOP)
        self.c.pando("failover", "site-a", "--to", "site-b")
        self.pause(0, 3)
        for daemon in self.c.daemons("site-a"):
            daemon.send(signal.SIGCONT)
        self.c.wait_serving(seconds=IN_STEP_SECONDS)
        self.c.pando("failback", "site-a")
        return ""

    def moved_and_moved_back(self):
        self.c.pando("failover", "site-a", "--to", "site-b")
        self.pause(0, 1)
        self.c.pando("failback", "site-a")
        return ""

    def fault(self):
        kinds = [(self.killed, 8), (self.stopped, 4), (self.frozen, 4), (self.killed_in_turn, 2),
                 (self.postgresql_away_while_a_daemon_is_killed, 2), (self.index_deleted, 2),
                 (self.site_burned_and_failed_over, 3), (self.site_frozen_and_failed_over, 2),
                 (self.moved_and_moved_back, 3)]
        kind = self.chance.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        return kind.__name__, kind()

    def check(self, history):
        crashes.check_history(self.c, history, {})
        for name in crashes.USERS:
            for uid, (subject, _) in self.c.mailbox(name)[0].items():
                before = self.uids.setdefault((name, uid), subject)
                assert before == subject, f"{name}: UID {uid} was {before} and is {subject}"


def under_load(c, history, work):
    stop = threading.Event()
    threads = [threading.Thread(target=kind, args=(c, history, stop, i), daemon=True)
               for i, kind in enumerate([crashes.sender] * 4 + [appender] * 2)]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def run(c, options, counts):
    chaos, history = Chaos(c, options.seed), crashes.History()
    end = time.monotonic() + options.minutes * 60

    def one_fault():
        start = time.monotonic()
        what, whom = chaos.fault()
        done = time.monotonic()
        c.wait_serving(seconds=IN_STEP_SECONDS)
        c.wait_nodes()
        print(f"ok      {what.replace('_', ' ')} {whom}: {done - start:.1f} s, in step after "
              f"{time.monotonic() - done:.1f} s", flush=True)
        counts["passed"] += 1

    def some_faults():
        for _ in range(FAULTS_PER_CHECK):
            if time.monotonic() < end:
                one_fault()

    while time.monotonic() < end:
        under_load(c, history, some_faults)
        chaos.check(history)
        print(f"        {history.count('ok')} ok, {history.count('failed')} failed, "
              f"{history.count('indeterminate')} indeterminate: all accounted for", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    folder = tempfile.mkdtemp(prefix="pando-chaos-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    cluster = world.World(folder, world.OFFSET)
    print(f"seed {options.seed}, in {folder}", flush=True)
    counts = {"passed": 0, "failed": 0}
    try:
        cluster.create(["site-a", "site-b"], 2)
        cluster.start()
        cluster.wait_serving()
        run(cluster, options, counts)
    except Exception:
        counts["failed"] += 1
        traceback.print_exc(file=sys.stdout)
        print(f"logs are in {folder}")
    finally:
        cluster.stop(signal.SIGKILL)
        cluster.postgres_stop("immediate")
        if not counts["failed"]:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
