"""Copies of queued messages at another site."""

import os
import signal
import subprocess
import time

from world import make_message, unmount, user, wait_for

SLOW = True  # a holder waits 10 seconds for the owner before it takes over


def away(c, name):
    """The home's node stops; its volumes stay where they are."""
    node = c.daemon(f"{c.home(name)['home']}/node")
    node.stop(signal.SIGKILL)
    return node


def queued(c, router=None):
    """{id: owner} of all that waits, at one router or at all."""
    return {(m["router"], m["id"]): m["owner"] for m in c.pando_json("queue", "list", check=False)
            if router in (None, m["router"])}


def test_queued_message_has_a_copy_at_the_other_site_before_250(c):
    name = user(58)
    node = away(c, name)
    subject = c.send("site-a", name)
    owners = queued(c)
    ids = {id for _, id in owners}
    assert len(owners) == 2 and len(ids) == 1, owners
    assert sorted(owners.values()) == ["", "router-a"], owners
    risks = [m for m in c.pando_json("at-risk", check=False) if m["delivery_id"] in ids]
    assert not risks, risks
    node.start()
    c.wait_mail(name, subject)
    wait_for("both queues to be empty", 10, lambda: not queued(c))
    assert c.subjects(name).count(subject) == 1


def test_copy_is_delivered_when_its_owner_is_gone_and_once_only(c):
    name = user(59)
    node = away(c, name)
    subject = c.send("site-a", name)
    owner = c.daemon("router-a/router")
    owner.stop(signal.SIGKILL)
    node.start()
    c.wait_mail(name, subject, "site-b", seconds=40)
    wait_for("the copy to be gone", 10, lambda: not queued(c, "router-b"))
    # The owner comes back and has it in its queue still: the home knows the delivery id.
    owner.start()
    wait_for("the owner's queue to be empty", 20, lambda: c.pando_json("status") and not queued(c))
    time.sleep(0.5)
    assert c.subjects(name, "site-b").count(subject) == 1


def test_message_without_a_copy_is_listed_as_at_risk(c):
    name = user(60)
    other = c.daemon("router-b/router")
    other.stop(signal.SIGKILL)
    node = away(c, name)
    subject = c.send("site-a", name)
    ids = {id for _, id in queued(c, "router-a")}
    assert len(ids) == 1, ids
    assert any(m["delivery_id"] in ids for m in c.pando_json("at-risk", check=False))
    # A copy is made as soon as somebody takes it.
    other.start()
    wait_for("a copy", 30, lambda: not any(m["delivery_id"] in ids
                                           for m in c.pando_json("at-risk", check=False)))
    node.start()
    c.wait_mail(name, subject)
    wait_for("both queues to be empty", 20, lambda: not queued(c))


def test_home_that_hangs_is_queued_for_and_gets_each_message_once(c):
    """It takes connections and says nothing; the router is killed meanwhile with all that waits."""
    name = user(61)
    home = c.daemon(f"{c.home(name)['home']}/node")
    router = c.daemon("router-a/router")
    subjects = []
    home.send(signal.SIGSTOP)
    try:
        subjects.append(c.send("site-a", name))
        with c.smtp("site-a") as smtp:
            for _ in range(200):
                subjects.append(c.unique("hang"))
                assert not smtp.sendmail("s@example.net", [name], make_message(subjects[-1], 2000))
        assert len(queued(c, "router-a")) == len(subjects)
        router.stop(signal.SIGKILL)
        router.start()
        wait_for("the router", 10, lambda: queued(c, "router-a"))
        assert len(queued(c, "router-a")) == len(subjects)
    finally:
        home.send(signal.SIGCONT)
    c.wait_mail(name, subjects[-1], seconds=30)
    wait_for("both queues to be empty", 30, lambda: not queued(c))
    found = c.subjects(name)
    assert all(found.count(subject) == 1 for subject in subjects)


def test_full_disk_refuses_with_452_and_loses_nothing(c):
    """A queue on a small disk of its own."""
    if os.getuid() != 0:
        return  # only root can make a small disk
    name = user(62)
    home = c.daemon(f"{c.home(name)['home']}/node")
    router = c.daemon("router-a/router")
    folder = os.path.join(c.folder, "site-a", "router-a", "data", "router", "queue")
    accepted, code = [], 0
    router.stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", folder], check=True)
    try:
        router.start()
        home.stop(signal.SIGKILL)
        wait_for("the router", 10, lambda: c.raw().greeting[0] == 220)
        with c.smtp("site-a") as smtp:
            smtp.ehlo()
            while code != 452:
                subject = c.unique("full")
                smtp.mail("s@example.net")
                smtp.rcpt(name)
                code, text = smtp.data(make_message(subject, 2000000))
                assert code in (250, 452), (code, text)
                if code == 250:
                    accepted.append(subject)
                assert len(accepted) < 100
        assert len(accepted) > 5, accepted
        router.stop(signal.SIGKILL)
        router.start()
        home.start()
        c.wait_mail(name, accepted[-1], seconds=40)
        wait_for("both queues to be empty", 30, lambda: not queued(c))
        found = c.subjects(name)
        assert all(found.count(subject) == 1 for subject in accepted)
        # What has gone has left its room.
        home.stop(signal.SIGKILL)
        again = c.send("site-a", name)
        home.start()
        c.wait_mail(name, again, seconds=40)
        wait_for("both queues to be empty", 30, lambda: not queued(c))
    finally:
        router.stop()
        unmount(folder)
        c.heal()
