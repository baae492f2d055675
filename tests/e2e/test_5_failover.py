"""A site burns down."""

import os
import signal
import subprocess
import threading
import time

import demo
from world import make_message, user, wait_for


def snapshot(c, site, users):
    return {name: c.mailbox(name, site) for name in users}


def same_mail(before, after):
    """Every message under its old UID, the same UIDVALIDITY, UIDNEXT not lower."""
    for name, (mail, (validity, uidnext)) in before.items():
        mail_after, (validity_after, uidnext_after) = after[name]
        assert validity_after == validity, name
        assert uidnext_after >= uidnext, (name, uidnext, uidnext_after)
        for uid, content in mail.items():
            assert mail_after.get(uid) == content, (name, uid)


def modseq(c, site, name):
    return int(c.imap(site, name).status("INBOX", "(HIGHESTMODSEQ)")[1][0].split()[-1].rstrip(b")"))


def changed_since(c, site, name, token):
    imap = c.imap(site, name)
    imap.select("INBOX", readonly=True)
    return len([line for line in imap.fetch("1:*", f"(FLAGS) (CHANGEDSINCE {token})")[1] if line])


def test_dry_run_changes_nothing(c):
    before = c.pando_json("volume", "list")
    plan = c.pando_json("failover", "site-a", "--to", "site-b", "--dry-run")
    assert plan["dry_run"] and len(plan["volumes"]) == 8, plan
    assert all(v["result"] == "would move" and v["clean"] is True for v in plan["volumes"]), plan
    assert c.pando_json("volume", "list") == before


def test_killed_site_fails_over_in_two_seconds_with_the_same_uids(c):
    users = [user(i) for i in range(1, 31)]
    for i, name in enumerate(users):
        c.send(("site-a", "site-b")[i % 2], name)
    before = snapshot(c, "site-b", users)
    token = modseq(c, "site-b", users[0])
    assert changed_since(c, "site-b", users[0], token) == 0
    c.stop(signal.SIGKILL, "site-a")
    start = time.monotonic()
    result = c.pando_json("failover", "site-a", "--to", "site-b")
    took = time.monotonic() - start
    assert took < 2, (took, result)
    assert all(v["result"] == "served" and v["clean"] is False for v in result["volumes"]), result
    wait_for("the first mail", 1, lambda: c.subjects(users[0], "site-b"))
    after = snapshot(c, "site-b", users)
    same_mail(before, after)
    # Flags that a client has may be of what was lost: it is told all of them once.
    assert changed_since(c, "site-b", users[0], token) == len(before[users[0]][0]) > 0
    # New mail gets UIDs above everything that may have been given at the lost site.
    for name in users[:4]:
        top = after[name][1][1]
        subject = c.send("site-b", name)
        mail, _ = c.mailbox(name, "site-b")
        uid = [uid for uid, (found, _) in mail.items() if found == subject][0]
        assert uid >= top, (uid, top)
    global during
    during = snapshot(c, "site-b", users)


def test_old_primary_comes_back_follows_and_serves_nothing(c):
    c.start("site-a")
    c.wait_serving(seconds=60)
    for volume in c.status()["volumes"]:
        assert volume["site"] == "site-b" and volume["state"] == "primary", volume
    same_mail(during, snapshot(c, "site-a", list(during)))
    subject = c.send("site-a", user(1))
    assert subject in c.subjects(user(1), "site-b")


def test_failback_is_clean_and_keeps_everything(c):
    users = list(during)
    for name in users[:10]:
        c.send("site-b", name)
    before = snapshot(c, "site-b", users)
    result = c.pando_json("failback", "site-a")
    assert all(v["result"] == "served" and v["clean"] is True and v["may_be_lost"] == "nothing"
               for v in result["volumes"]), result
    c.wait_serving()
    assert all(v["site"] == "site-a" for v in c.status()["volumes"])
    same_mail(before, snapshot(c, "site-a", users))


def test_failover_of_a_living_site_under_load_loses_nothing(c):
    accepted, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            subject = c.unique("load")
            try:
                with c.smtp("site-b") as smtp:
                    smtp.sendmail("s@example.net", [user(80)], make_message(subject))
                accepted.append(subject)
            except Exception:
                time.sleep(0.05)
    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(0.5)
    result = c.pando_json("failover", "site-a", "--to", "site-b")
    time.sleep(0.5)
    stop.set()
    thread.join()
    assert all(v["clean"] is True for v in result["volumes"]), result
    wait_for("the queue to empty", 20, lambda: c.pando_json("queue", "list") == [])
    found = c.subjects(user(80), "site-b")
    assert accepted and all(found.count(subject) == 1 for subject in accepted), (len(accepted), len(found))
    c.pando("failback", "site-a")
    c.wait_serving()


def test_one_volume_moves_alone(c):
    volume = c.home(user(1))["volume"]
    result = c.pando_json("failover", volume)
    assert len(result["volumes"]) == 1 and result["volumes"][0]["result"] == "served", result
    subject = c.send("site-a", user(1))
    assert subject in c.subjects(user(1), "site-a")
    c.pando("failback", "site-a")
    c.wait_serving()


def test_what_a_node_serves_moves_with_one_command(c):
    node = c.home(user(1))["home"]
    mine = [v["volume"] for v in c.pando_json("volume", "list") if v["primary_node"] == node]
    result = c.pando_json("failover", node)
    assert mine and sorted(v["volume"] for v in result["volumes"]) == sorted(mine), (mine, result)
    assert all(v["result"] == "served" and v["clean"] is True for v in result["volumes"]), result
    c.pando("failback", "site-a")
    c.wait_serving()


def test_replica_stopped_in_time_refuses_to_lose_silently(c):
    """A living primary whose replica cannot catch up keeps its volume."""
    for daemon in c.daemons("site-b"):
        if daemon.kind == "replicator":
            daemon.stop(signal.SIGKILL)
    c.send("site-a", user(81))
    done = subprocess.run([demo.PANDO, "--config", c.conf, "failover", c.home(user(81))["volume"], "--to", "site-b"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1 and "caught up" in done.stdout, done.stdout
    wait_for("the old primary serves again", 10, lambda: c.send("site-a", user(81)))
    c.heal()


def test_hung_site_is_left_behind_and_what_it_wakes_to_is_the_truth(c):
    """Processes that stand still hold their connections open: nobody is refused, nobody answers."""
    users = [user(i) for i in range(1, 9)]
    for name in users:
        c.send("site-b", name)
    before = snapshot(c, "site-b", users)
    pids = [daemon.pid() for daemon in c.daemons("site-a")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        result = c.pando_json("failover", "site-a", "--to", "site-b", check=False)
        took = time.monotonic() - start
        assert all(v["result"] == "served" for v in result["volumes"]), result
        assert took < 3, took
        same_mail(before, snapshot(c, "site-b", users))
        sent = {name: c.send("site-b", name) for name in users}
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    c.wait_serving(seconds=60)
    for name, subject in sent.items():
        assert c.subjects(name, "site-a").count(subject) == 1
    same_mail(before, snapshot(c, "site-a", users))
    assert all(v["site"] == "site-b" for v in c.status()["volumes"])
    c.pando("failback", "site-a")
    c.wait_serving()


def test_second_failover_and_back_with_both_sites_killed_in_turn(c):
    users = [user(i) for i in range(1, 11)]
    for name in users:
        c.send("site-a", name)
    before = snapshot(c, "site-a", users)
    c.stop(signal.SIGKILL, "site-a")
    c.pando("failover", "site-a")
    same_mail(before, snapshot(c, "site-b", users))
    c.start("site-a")
    c.wait_serving(seconds=60)
    for name in users:
        c.send("site-b", name)
    before = snapshot(c, "site-b", users)
    c.stop(signal.SIGKILL, "site-b")
    c.pando("failover", "site-b")
    same_mail(before, snapshot(c, "site-a", users))
    c.start("site-b")
    c.wait_serving(seconds=60)
    same_mail(before, snapshot(c, "site-b", users))
