"""kill -9 of each process under load. Every message ends as ok, failed or indeterminate; every ok one is
found exactly once, every failed one at most... never: a refusal means that nothing was stored; UIDs rise."""

import random
import signal
import smtplib
import threading
import time

from world import make_message, user, wait_for

SLOW = True
SENDERS = 6
USERS = [user(i) for i in range(82, 98)]


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.outcome = {}  # subject -> (user, "ok" | "failed" | "indeterminate")

    def note(self, subject, name, outcome):
        with self.lock:
            self.outcome[subject] = (name, outcome)

    def count(self, outcome):
        return sum(1 for _, found in self.outcome.values() if found == outcome)


def sender(c, history, stop, number, users=USERS):
    chance = random.Random(number)
    while not stop.is_set():
        name, subject = chance.choice(users), c.unique(f"crash{number}")
        site = chance.choice(c.sites)
        sent = False
        try:
            with smtplib.SMTP("127.0.0.1", c.port(site, "smtp"), "client.example.net", timeout=30) as smtp:
                smtp.ehlo()
                smtp.mail("s@example.net")
                code, _ = smtp.rcpt(name)
                if code != 250:
                    history.note(subject, name, "failed")
                    continue
                sent = True
                code, _ = smtp.data(make_message(subject, chance.choice((0, 2000, 40000))))
                history.note(subject, name, "ok" if code == 250 else "failed")
                sent = False
        except (smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected, OSError) as error:
            if subject in history.outcome:
                continue
            refused = isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 400
            history.note(subject, name, "failed" if refused or not sent else "indeterminate")
            time.sleep(0.02)


def check_history(c, history, uids_before, users=USERS):
    wait_for("the queues to empty", 40, lambda: c.pando_json("queue", "list") == [])
    c.wait_serving(seconds=60)
    found = {}
    for name in users:
        views = [c.mailbox(name, site)[0] for site in c.sites]
        assert views[0] == views[1], name
        for uid, (subject, _) in views[0].items():
            found.setdefault(subject, []).append((name, uid))
        old = uids_before.get(name, {})
        for uid, content in old.items():
            assert views[0].get(uid) == content, (name, uid)
        new = [uid for uid in views[0] if uid not in old]
        assert not old or not new or min(new) > max(old), name
    lost = [s for s, (name, outcome) in history.outcome.items() if outcome == "ok" and s not in found]
    twice = [s for s, places in found.items() if s in history.outcome and len(places) > 1]
    wrong = [s for s, (name, _) in history.outcome.items() if s in found and found[s][0][0] != name]
    assert not lost, f"{len(lost)} accepted messages are gone: {lost[:5]}"
    assert not twice, f"{len(twice)} messages stand twice: {twice[:5]}"
    assert not wrong, wrong[:5]


def crash(c, names, times=2, pause=0.8):
    uids_before = {name: c.mailbox(name)[0] for name in USERS}
    history, stop = History(), threading.Event()
    threads = [threading.Thread(target=sender, args=(c, history, stop, i)) for i in range(SENDERS)]
    for thread in threads:
        thread.start()
    time.sleep(pause)
    for _ in range(times):
        for name in names:
            daemon = c.daemon(name)
            daemon.stop(signal.SIGKILL)
            time.sleep(0.2)
            daemon.start()
            time.sleep(pause)
    stop.set()
    for thread in threads:
        thread.join()
    c.heal()
    check_history(c, history, uids_before)
    assert history.count("ok") > 50, history.count("ok")
    print(f"        {history.count('ok')} ok, {history.count('failed')} failed, "
          f"{history.count('indeterminate')} indeterminate")


def test_primary_nodes_killed_under_load(c):
    crash(c, ["node-a1/node", "node-a2/node"])


def test_replica_nodes_killed_under_load(c):
    crash(c, ["node-b1/node"])


def test_replicators_of_both_sides_killed_under_load(c):
    crash(c, ["node-a1/replicator", "node-b1/replicator"])


def test_routers_killed_under_load(c):
    crash(c, ["router-a/router", "router-b/router"])


def test_whole_site_killed_and_failed_over_under_load(c):
    uids_before = {name: c.mailbox(name)[0] for name in USERS}
    history, stop = History(), threading.Event()
    threads = [threading.Thread(target=sender, args=(c, history, stop, i)) for i in range(SENDERS)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    c.stop(signal.SIGKILL, "site-a")
    c.pando("failover", "site-a", "--to", "site-b")
    time.sleep(1.5)
    c.start("site-a")
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join()
    c.wait_serving(seconds=60)
    check_history(c, history, uids_before)
    c.heal()
    check_history(c, history, uids_before)
