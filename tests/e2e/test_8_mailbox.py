"""What an operator sets for one mailbox: how much it may hold, whether it is served."""

import imaplib
import os

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
    assert data(c, [full], c.unique("fits"), 20000)[0] == 250
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
