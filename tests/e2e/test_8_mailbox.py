"""What an operator sets for one mailbox: how much it may hold, whether it is served."""

import imaplib
import os
import re
import signal
import subprocess

import demo
from runbook import Runbook
from test_9_monitoring import ports
from world import DOMAIN, PASSWORD, make_message, user, wait_for

QUOTA = 30000


def data(c, recipients, subject, size):
    raw = c.raw()
    raw.command("MAIL FROM:<" + user(74) + ">")
    codes = [raw.command(f"RCPT TO:<{name}>")[0] for name in recipients]
    assert codes == [250] * len(recipients), codes
    raw.command("DATA")
    raw.send(make_message(subject, size))
    reply = raw.command("\r\n.")
    raw.close()
    return reply


def test_a_full_mailbox_refuses_mail_until_there_is_room_again(c):
    full = f"full{os.getpid()}@{DOMAIN}"
    c.pando("mailbox", "add", full, "--quota", str(QUOTA), "--password", PASSWORD)
    wait_for(full, 3, lambda: c.send("site-a", full))
    fits = c.unique("fits")
    assert data(c, [full], fits, 20000)[0] == 250
    c.wait_mail(full, fits)
    code, text = data(c, [full], c.unique("too-much"), 20000)
    assert code == 552 and "5.2.2" in text, text
    imap = c.imap("site-b", full)
    status, answer = imap.append("INBOX", None, None, make_message(c.unique("appended"), 20000))
    assert status == "NO" and b"OVERQUOTA" in answer[0], answer
    imap.select("INBOX")
    assert imap.copy("2", "Archive")[0] == "NO"
    # A move needs no room, and what is expunged gives it back.
    uid = imap.fetch("2", "(UID)")[1][0].split()[-1].rstrip(b")").decode()
    assert imap.uid("MOVE", uid, "Archive")[0] == "OK"
    imap.select("Archive")
    imap.store("1", "+FLAGS", "\\Deleted")
    imap.expunge()
    assert data(c, [full], c.unique("fits-again"), 20000)[0] == 250
    imap.logout()


def test_one_full_mailbox_of_several_recipients_is_bounced_to_the_sender(c):
    full, subject = f"full{os.getpid()}@{DOMAIN}", c.unique("partly")
    assert data(c, [full, user(75)], subject, 20000)[0] == 250
    c.wait_mail(user(75), subject)
    wait_for("the bounce", 10, lambda: any("ndelivered" in found or "failed" in found.lower()
                                           for found in c.subjects(user(74))))
    assert subject not in c.subjects(full)


def test_a_quota_can_be_raised(c):
    full = f"full{os.getpid()}@{DOMAIN}"
    c.pando("mailbox", "set", full, "--quota", str(10 * QUOTA))
    assert c.home(full)["quota_bytes"] == 10 * QUOTA
    wait_for("room", 5, lambda: data(c, [full], c.unique("raised"), 60000)[0] == 250)


def test_who_adds_and_expunges_in_turn_is_told_to_wait(c):
    """However little the mailbox holds, its disk would be full."""
    name, size, limit = f"{c.unique('churn')}@{DOMAIN}", 1 << 20, 64
    c.pando("mailbox", "add", name, "--quota", str(3 * size), "--password", PASSWORD)
    wait_for(name, 3, lambda: c.send("site-a", name))
    imap = c.imap("site-a", name)
    imap.select("INBOX")
    taken = 0
    for _ in range(2 * limit):
        status, answer = imap.append("INBOX", None, None, make_message(c.unique("churn"), size))
        if status != "OK":
            break
        taken += 1
        imap.noop()
        imap.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
        imap.expunge()
    assert limit - 4 < taken <= limit and b"LIMIT" in answer[0] and b"within a day" in answer[0], (taken, answer)
    imap.logout()
    # Who sends it more keeps that: no queue here is filled with it.
    subject = c.unique("waits")
    code, text = data(c, [name], subject, size)
    assert code == 452 and "4.2.2" in text, (code, text)
    assert not [row for row in c.pando_json("queue", "list") if name in row["recipients"]]
    # What is for others too waits.
    reply = data(c, [name, user(76)], subject, size)
    assert reply[0] == 250, reply
    c.wait_mail(user(76), subject)
    waiting = [row for row in c.pando_json("queue", "list") if name in row["recipients"]]
    assert waiting and "4.2.2" in c.pando("queue", "show", waiting[0]["id"]), waiting
    c.pando("mailbox", "set", name, "--quota", "0")
    c.pando("queue", "flush")
    c.wait_mail(name, subject, seconds=30)


def test_a_mailbox_that_is_not_enabled_takes_no_mail_and_no_login_and_keeps_its_mail(c):
    name = f"full{os.getpid()}@{DOMAIN}"
    before = c.subjects(name)
    c.pando("mailbox", "set", name, "--enabled", "no")

    def refused():
        raw = c.raw("site-b")
        raw.command("MAIL FROM:<sender@example.net>")
        code, text = raw.command(f"RCPT TO:<{name}>")
        raw.close()
        return code == 550 and "5.2.1" in text
    wait_for("a refusal", 5, refused)
    try:
        c.imap("site-a", name)
        raise AssertionError("logged in")
    except imaplib.IMAP4.error:
        pass
    c.pando("mailbox", "set", name, "--enabled", "yes")
    wait_for("the same mail", 5, lambda: c.subjects(name) == before)


def in_folder(c, name, folder):
    """(UID, flags and text) of each of its messages, and its UIDVALIDITY."""
    imap = c.imap("site-a", name)
    imap.select(folder, readonly=True)
    found = imap.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")[1]
    validity = imap.response("UIDVALIDITY")[1]
    imap.logout()
    return [part for part in found if part], validity


def test_a_removed_mailbox_comes_back_as_it_was_and_a_renamed_one_keeps_everything(c):
    book = Runbook(c, "A mailbox was removed by mistake")
    anna, alias = f"anna{os.getpid()}@{DOMAIN}", f"post{os.getpid()}@{DOMAIN}"
    meier = f"anna.meier{os.getpid()}@{DOMAIN}"
    names = {"anna_example_org": anna, "anna_meier_example_org": meier}
    c.pando("mailbox", "add", anna, "--password", PASSWORD)
    c.pando("alias", "add", alias, anna)
    subject = c.unique("kept")
    wait_for(anna, 5, lambda: c.send("site-a", alias, subject))
    c.wait_mail(anna, subject)
    imap = c.imap("site-b", anna)
    imap.select("INBOX")
    imap.store("1", "+FLAGS", "(\\Flagged $Work)")
    imap.append("Archive", "(\\Seen)", None, make_message(c.unique("archived"), 3000))
    before = [in_folder(c, anna, folder) for folder in ("INBOX", "Archive")]
    c.pando("mailbox", "remove", anna)
    wait_for("its sessions to end", 5, lambda: ended(imap))

    def code(name):
        """As both sites have heard."""
        replies = set()
        for site in ("site-a", "site-b"):
            raw = c.raw(site)
            raw.command("MAIL FROM:<sender@example.net>")
            replies.add(raw.command(f"RCPT TO:<{name}>")[0])
            raw.close()
        return replies.pop() if len(replies) == 1 else None

    for name in (anna, alias):
        wait_for(f"{name} to be unknown", 5, lambda: code(name) == 550)
    assert anna in book.command("pando mailbox list --removed")
    book.command("pando mailbox restore anna@example.org", **names)
    for name in (anna, alias):
        wait_for(f"{name} to be known", 5, lambda: code(name) == 250)
    assert [in_folder(c, anna, folder) for folder in ("INBOX", "Archive")] == before
    assert anna not in c.pando("mailbox", "list", "--removed")
    book.command("pando mailbox rename anna@example.org anna.meier@example.org --keep-old", **names)
    wait_for("its new name", 5, lambda: code(meier) == 250)
    assert [in_folder(c, meier, folder) for folder in ("INBOX", "Archive")] == before
    for name in (anna, alias):
        later = c.unique("later")
        wait_for(name, 5, lambda: c.send("site-a", name, later))
        c.wait_mail(meier, later)
    audit = c.pando("audit")
    assert all(f"mailbox {what}" in audit for what in ("remove", "restore", "rename")), audit


def ended(imap):
    try:
        return imap.noop()[0] == "BYE"
    except (imaplib.IMAP4.error, OSError):
        return True


def test_a_removed_mailbox_whose_time_is_over_gives_its_room_back_for_good(c):
    gone = f"gone{os.getpid()}@{DOMAIN}"
    c.pando("mailbox", "add", gone, "--password", PASSWORD)
    volume = c.home(gone)["volume"]
    wait_for(gone, 5, lambda: c.send("site-a", gone, size=300000))
    wait_for("its mail", 5, lambda: len(c.subjects(gone)) == 1)

    def dead():
        found = [re.search(rf'^pando_volume_dead_bytes{{.*volume="{volume}".*}} (\d+)', c.http(port, "/metrics"), re.M)
                 for who, port in ports(c) if who.startswith("node")]
        return [int(one.group(1)) for one in found if one]
    was = dead()
    c.pando("mailbox", "remove", gone, "--keep-days", "0")
    nodes = [d for d in c.daemons() if d.kind == "node"]
    for node in nodes:
        with open(node.config, "a", encoding="utf-8") as file:
            file.write("purge_every_s = 1\n")
        node.stop(signal.SIGTERM)
    try:
        c.heal()
        wait_for("its end", 20, lambda: gone not in c.pando("mailbox", "list", "--removed"))
        wait_for("its bytes at every copy", 10, lambda: sorted(dead()) >= [b + 300000 for b in sorted(was)])
        assert "mailbox purge" in c.pando("audit")
        done = subprocess.run([demo.PANDO, "--config", c.conf, "mailbox", "restore", gone], capture_output=True, text=True)
        assert done.returncode == 1 and "its time is over" in done.stderr, done.stderr
        # The same address again is another mailbox.
        c.pando("mailbox", "add", gone, "--password", PASSWORD)
        wait_for("the new one", 5, lambda: c.subjects(gone) == [])
        c.pando("mailbox", "remove", gone, "--keep-days", "0")
    finally:
        for node in nodes:
            with open(node.config, encoding="utf-8") as file:
                lines = [line for line in file if not line.startswith("purge_every_s")]
            with open(node.config, "w", encoding="utf-8") as file:
                file.writelines(lines)
            node.stop(signal.SIGTERM)
        c.heal()
