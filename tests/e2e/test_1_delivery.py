"""Mail comes in at any router and is read through any router."""

import socket
import time

from world import DOMAIN, PASSWORD, make_message, user, wait_for


def test_both_routers_deliver_to_every_home(c):
    homes = {}
    for i in range(1, 101):
        homes.setdefault(c.home(user(i))["volume"], user(i))
        if len(homes) == 8:
            break
    assert len(homes) == 8, homes
    for site in ("site-a", "site-b"):
        for to in homes.values():
            subject = c.send(site, to)
            for reader in ("site-a", "site-b"):
                assert subject in c.subjects(to, reader), (subject, to, reader)


def test_accepted_mail_is_on_the_second_site_before_250(c):
    before = {row["volume"]: row for row in c.lag()}
    c.send("site-b", user(1))
    volume = c.home(user(1))["volume"]
    row = [r for r in c.lag() if r["volume"] == volume][0]
    assert row["lag_bytes"] == 0 and row["connected"] is True, (before, row)
    assert c.pando_json("at-risk") == []


def test_one_message_for_many_recipients_on_many_volumes(c):
    to = [user(i) for i in range(20, 40)]
    subject = c.send("site-a", to)
    for address in to:
        assert c.subjects(address, "site-b").count(subject) == 1


def test_same_recipient_twice_gets_one_copy(c):
    subject = c.send("site-a", [user(41), user(41).upper()])
    assert c.subjects(user(41)).count(subject) == 1


def test_message_gets_return_path_and_received_and_stays_itself(c):
    subject = c.send("site-a", user(42))
    imap = c.imap(to=user(42))
    imap.select("INBOX", readonly=True)
    _, data = imap.fetch("1", "(BODY.PEEK[])")
    imap.logout()
    head, body = data[0][1].split(b"\r\n\r\n", 1)
    assert head.startswith(b"Return-Path: <sender@example.net>\r\n"), head
    assert b"\r\nReceived: from client.example.net" in b"\r\n" + head, head
    assert data[0][1].endswith(make_message(subject).split(b"\r\n\r\n", 1)[1]) and body


def test_address_case_detail_alias_and_postmaster(c):
    c.pando("alias", "add", f"sales@{DOMAIN}", user(43), user(44))
    wait_for("alias", 3, lambda: c.raw().command("MAIL FROM:<a@example.net>")[0] == 250)
    time.sleep(0.1)
    subject = c.send("site-b", f"Sales@{DOMAIN.upper()}")
    assert subject in c.subjects(user(43)) and subject in c.subjects(user(44))
    subject = c.send("site-a", user(43).replace("@", "+lists@"))
    assert subject in c.subjects(user(43))
    subject = c.send("site-a", f"POSTMASTER@{DOMAIN}")
    assert subject in c.subjects(user(1))
    raw = c.raw()
    raw.command("MAIL FROM:<>")
    assert raw.command("RCPT TO:<postmaster>")[0] == 250
    raw.close()


def test_null_sender_is_accepted(c):
    subject = c.unique()
    with c.smtp() as smtp:
        smtp.sendmail("", [user(45)], make_message(subject))
    assert subject in c.subjects(user(45))


def test_bodies_of_all_kinds_arrive_unchanged(c):
    bodies = [b"", b".", b"..\r\n.", b"\r\n\r\n", bytes(range(128, 256)), b"x" * 990, b"no line end",
              b"." * 500 + b"\r\n.\r\n" + b"a" * 100]
    for body in bodies:
        subject = c.unique("body")
        message = b"Subject: " + subject.encode() + b"\r\n\r\n" + body
        with c.smtp("site-b") as smtp:
            smtp.sendmail("sender@example.net", [user(46)], message)
        imap = c.imap(to=user(46))
        imap.select("INBOX", readonly=True)
        _, data = imap.fetch("*", "(BODY.PEEK[TEXT])")
        imap.logout()
        got = data[0][1]
        assert got in (body, body + b"\r\n"), (body[:40], got[:40])


def test_large_message(c):
    subject = c.send("site-b", user(47), size=8_000_000)
    assert subject in c.subjects(user(47))


def test_pipelining_and_chunking(c):
    raw = c.raw("site-b")
    subject = c.unique("bdat")
    message = make_message(subject)
    head, tail = message[:50], message[50:]
    raw.send(b"MAIL FROM:<sender@example.net> BODY=8BITMIME\r\nRCPT TO:<%s>\r\n" % user(48).encode() +
             b"BDAT %d\r\n" % len(head) + head + b"BDAT %d LAST\r\n" % len(tail) + tail + b"NOOP\r\n")
    codes = [raw.reply()[0] for _ in range(5)]
    raw.close()
    assert codes == [250] * 5, codes
    assert subject in c.subjects(user(48))


def test_idle_tells_of_new_mail_through_the_other_site(c):
    s = socket.create_connection(("127.0.0.1", c.port("site-b", "imap")), 10)
    f = s.makefile("rb")
    f.readline()
    s.sendall(f"a LOGIN {user(49)} {PASSWORD}\r\nb SELECT INBOX\r\n".encode())
    while not f.readline().startswith(b"b OK"):
        pass
    s.sendall(b"c IDLE\r\n")
    assert f.readline().startswith(b"+")
    c.send("site-a", user(49))
    s.settimeout(5)
    lines = []
    while not any(b"EXISTS" in line for line in lines):
        lines.append(f.readline())
    s.sendall(b"DONE\r\n")
    s.close()


def test_health_and_metrics(c):
    for site in c.sites:
        assert c.http(c.port(site, "http"), "/healthz")
        assert "pando_" in c.http(c.port(site, "http"), "/metrics")
    assert "pando_" in c.http(c.node_ports("site-a", 1)["node_http"], "/metrics")
