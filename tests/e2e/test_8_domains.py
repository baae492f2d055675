"""An internationalised domain is one domain, written in its own script or in ASCII."""

import base64
import subprocess

import demo
from world import PASSWORD, make_message, wait_for

UNICODE, ASCII = "bücher.example", "xn--bcher-kva.example"


def refusal(c, *arguments):
    done = subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    assert done.returncode == 1, done
    return done.stderr


def recipient(c, address):
    raw = c.raw("site-b")
    raw.command("MAIL FROM:<sender@example.net> SMTPUTF8")
    code, text = raw.command(f"RCPT TO:<{address}>")
    raw.close()
    return code, text


def send(c, site, address):
    subject = c.unique("idn")
    raw = c.raw(site)
    assert raw.command("MAIL FROM:<sender@example.net> SMTPUTF8")[0] == 250
    assert raw.command(f"RCPT TO:<{address}>")[0] == 250
    raw.command("DATA")
    raw.send(make_message(subject))
    code, text = raw.command("\r\n.")
    assert code == 250, text
    raw.close()
    return subject


def login(c, name):
    """AUTHENTICATE PLAIN, which takes any script."""
    imap = c.imap("site-a", login=False)
    imap.authenticate("PLAIN", lambda _: f"\0{name}\0{PASSWORD}".encode())
    imap.select("INBOX", readonly=True)
    _, data = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    imap.logout()
    return [item[1].split(b":", 1)[1].strip().decode() for item in data if isinstance(item, tuple)]


def test_mail_login_and_alias_know_a_domain_in_both_forms(c):
    c.pando("domain", "add", UNICODE)
    assert "exists already" in refusal(c, "domain", "add", ASCII)
    assert "exists already" in refusal(c, "domain", "add", "BÜCHER.example")
    c.pando("mailbox", "add", f"anna@{ASCII}", "--password", PASSWORD)
    assert "exists already" in refusal(c, "mailbox", "add", f"anna@{UNICODE}", "--no-password")
    c.pando("alias", "add", f"info@{UNICODE}", f"anna@{UNICODE}")
    assert c.home(f"anna@{UNICODE}")["address"] == f"anna@{ASCII}"
    assert [row["address"] for row in c.pando_json("mailbox", "list", f"*@{UNICODE}")] == [f"anna@{ASCII}"]
    wait_for("the domain", 5, lambda: recipient(c, f"info@{ASCII}")[0] == 250)
    sent = [send(c, site, f"{name}@{domain}") for site in ("site-a", "site-b") for name in ("anna", "info")
            for domain in (UNICODE, ASCII, UNICODE.upper())]
    for name in (f"anna@{UNICODE}", f"anna@{ASCII}", f"ANNA@{UNICODE.upper()}"):
        assert sorted(login(c, name)) == sorted(sent), name
    assert recipient(c, f"nobody@{UNICODE}") == (550, "550 5.1.1 No such user here")
    assert recipient(c, "anna@büchër.example")[0] == 550


def test_what_is_no_internationalised_domain_is_refused(c):
    for name in ("xn--a.example", "xn--ü.example", "-ü.example", "a\u200bb_ü.example"):
        assert "is no domain name" in refusal(c, "domain", "add", name), name
    assert recipient(c, "anna@xn--a.example")[0] == 550


def test_one_who_is_not_there_is_told_from_nobody_by_the_spelling(c):
    """SCRAM shows a salt before it knows who asks: the same in every spelling, for whoever is there and who is not."""
    salts = {}
    for name in ("anna", "nobody"):
        for domain in (UNICODE, ASCII, UNICODE.upper()):
            with c.smtp(service="submission") as smtp:
                smtp.starttls()
                smtp.ehlo()
                first = base64.b64encode(f"n,,n={name}@{domain},r=nonce".encode()).decode()
                code, text = smtp.docmd("AUTH", "SCRAM-SHA-256 " + first)
                assert code == 334, text
                salts.setdefault(name, set()).add(base64.b64decode(text).split(b",")[1])
                smtp.docmd("*")
    assert [len(found) for found in salts.values()] == [1, 1], salts
