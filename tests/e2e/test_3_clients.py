"""Clients that nobody here wrote."""

import base64
import os
import shutil
import socket
import subprocess
import tempfile

from world import PASSWORD, make_message, tls_context, user


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, **options)
    output = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, f"{' '.join(command)}\n{output[-3000:]}"
    return output


def message_file(subject, size=0):
    file = tempfile.NamedTemporaryFile(suffix=".eml")
    file.write(make_message(subject, size))
    file.flush()
    return file


def test_curl_submits_over_tls_and_reads(c):
    subject = c.unique("curl")
    with message_file(subject) as file:
        run("curl", "-sS", "-k", f"smtps://127.0.0.1:{c.port('site-a', 'submissions')}", "--mail-from", user(61),
            "--mail-rcpt", user(62), "-u", f"{user(61)}:{PASSWORD}", "-T", file.name)
        run("curl", "-sS", "-k", "--ssl-reqd", f"smtp://127.0.0.1:{c.port('site-b', 'submission')}", "--mail-from",
            user(61), "--mail-rcpt", user(62), "-u", f"{user(61)}:{PASSWORD}", "-T", file.name)
    listed = run("curl", "-sS", "-k", f"imaps://127.0.0.1:{c.port('site-b', 'imaps')}/INBOX?SUBJECT%20{subject}",
                 "-u", f"{user(62)}:{PASSWORD}")
    assert len(listed.split()) == 4, listed
    text = run("curl", "-sS", "-k", f"imaps://127.0.0.1:{c.port('site-a', 'imaps')}/INBOX;MAILINDEX=1", "-u",
               f"{user(62)}:{PASSWORD}")
    assert f"Subject: {subject}" in text


def test_curl_appends_and_uses_starttls(c):
    subject = c.unique("append")
    with message_file(subject) as file:
        run("curl", "-sS", "-k", "--ssl-reqd", f"imap://127.0.0.1:{c.port('site-b', 'imap')}/Sent", "-u",
            f"{user(63)}:{PASSWORD}", "-T", file.name)
    assert subject in [s for s, _ in c.mailbox(user(63), "site-a", "Sent")[0].values()]


def swaks(c, site, *arguments):
    return run("swaks", "--server", "127.0.0.1", "--ehlo", "client.example.net", *arguments, "--timeout", "20s")


def test_swaks_with_every_mechanism(c):
    for mechanism in ("PLAIN", "LOGIN"):
        subject = c.unique("swaks")
        swaks(c, "site-a", "--port", str(c.port("site-a", "submission")), "--tls", "--auth", mechanism,
              "--auth-user", user(64), "--auth-password", PASSWORD, "--from", user(64), "--to", user(65),
              "--header", f"Subject: {subject}")
        assert subject in c.subjects(user(65))


def test_swaks_at_the_mx_with_and_without_tls(c):
    for extra in ((), ("--tls",), ("--pipeline",)):
        subject = c.unique("swaks")
        swaks(c, "site-b", "--port", str(c.port("site-b", "smtp")), "--from", "a@example.net", "--to", user(65),
              "--header", f"Subject: {subject}", *extra)
        assert subject in c.subjects(user(65), "site-b")


def test_smtp_source_with_twenty_sessions(c):
    source = shutil.which("smtp-source") or "/usr/sbin/smtp-source"
    before = len(c.subjects(user(66)))
    run(source, "-s", "20", "-m", "400", "-l", "4096", "-f", "source@example.net", "-t", user(66),
        f"127.0.0.1:{c.port('site-b', 'smtp')}")
    assert len(c.subjects(user(66))) == before + 400


def test_mbsync_copies_everything_and_finds_nothing_new(c):
    wanted = [c.send("site-a", user(67), size=i * 1000) for i in range(15)]
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/mail")
        with open(f"{folder}/rc", "w") as file:
            file.write(f"IMAPAccount pando\nHost 127.0.0.1\nPort {c.port('site-b', 'imap')}\nUser {user(67)}\n"
                       f"Pass {PASSWORD}\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore far\nAccount pando\n\n"
                       f"MaildirStore near\nPath {folder}/mail/\nInbox {folder}/mail/INBOX\nSubFolders Verbatim\n\n"
                       "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n")
        run("mbsync", "-c", f"{folder}/rc", "all")
        files = [os.path.join(place, name) for part in ("new", "cur")
                 for place in [f"{folder}/mail/INBOX/{part}"] for name in os.listdir(place)]
        found = "".join(open(name, errors="replace").read() for name in files)
        assert all(f"Subject: {subject}\n" in found.replace("\r\n", "\n") for subject in wanted), len(files)
        run("mbsync", "-c", f"{folder}/rc", "all")
        # Deleting here deletes there.
        for name in files:
            os.remove(name)
        run("mbsync", "-c", f"{folder}/rc", "all")
    assert c.subjects(user(67)) == []


def test_imaplib_walks_through_a_mailbox(c):
    for i in range(5):
        c.send("site-a", user(68), size=i * 100)
    imap = c.imap("site-b", user(68))
    assert imap.select("INBOX")[0] == "OK"
    assert imap.store("1:3", "+FLAGS", "(\\Seen \\Flagged keyword)")[0] == "OK"
    assert imap.search(None, "FLAGGED")[1][0].split() == [b"1", b"2", b"3"]
    assert imap.search("UTF-8", "KEYWORD", "keyword")[1][0].split() == [b"1", b"2", b"3"]
    assert imap.create("Work")[0] == "OK"
    assert imap.copy("1:2", "Work")[0] == "OK"
    status, answer = imap.uid("MOVE", "3", "Work")
    assert status == "OK", answer
    assert imap.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
    assert imap.expunge()[0] == "OK"
    assert imap.select("Work")[1] == [b"3"]
    assert imap.rename("Work", "Done")[0] == "OK"
    assert any(b"Done" in line for line in imap.list()[1])
    assert imap.status("INBOX", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")[0] == "OK"
    assert imap.delete("Done")[0] == "OK"
    imap.logout()
    assert len(c.subjects(user(68), "site-a")) == 3


def test_imaplib_over_tls_and_authenticate_plain(c):
    import imaplib
    imap = imaplib.IMAP4_SSL("127.0.0.1", c.port("site-a", "imaps"), ssl_context=tls_context(), timeout=20)
    token = f"\0{user(69)}\0{PASSWORD}"
    assert imap.authenticate("PLAIN", lambda _: token.encode())[0] == "OK"
    imap.logout()
    imap = imaplib.IMAP4("127.0.0.1", c.port("site-a", "imap"), timeout=20)
    assert imap.starttls(tls_context())[0] == "OK"
    imap.login(user(69), PASSWORD)
    imap.logout()


def test_scram_sha_256_at_submission(c):
    import hashlib
    import hmac
    import secrets
    with c.smtp(service="submission") as smtp:
        smtp.starttls(context=tls_context())
        smtp.ehlo()
        assert "SCRAM-SHA-256" in smtp.esmtp_features["auth"], smtp.esmtp_features
        nonce = secrets.token_hex(12)
        bare = f"n={user(69)},r={nonce}"
        code, answer = smtp.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(f"n,,{bare}".encode()).decode())
        assert code == 334, answer
        server = base64.b64decode(answer).decode()
        parts = dict(part.split("=", 1) for part in server.split(","))
        final = f"c=biws,r={parts['r']}"
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), f"{bare},{server},{final}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        code, answer = smtp.docmd(base64.b64encode(f"{final},p={proof}".encode()).decode())
        if code == 334:
            code, answer = smtp.docmd("")
        assert code == 235, answer
        subject = c.unique("scram")
        smtp.sendmail(user(69), [user(70)], make_message(subject))
    assert subject in c.subjects(user(70))


def say_all(port, data):
    """What comes back to who sends everything at once and ends its side, as `nc -N` does (RFC 9293 section 3.6)."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(20)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answers = b""
        while more := connection.recv(65536):
            answers += more
    return answers.decode()


def test_who_has_ended_its_side_is_answered(c):
    subject, name = c.unique("half"), user(66)
    answers = say_all(c.port("site-b", "smtp"), (f"EHLO client.example.net\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<{name}>\r\n"
                                                 "DATA\r\n").encode() + make_message(subject) + b"\r\n.\r\nQUIT\r\n")
    assert [line[:3] for line in answers.splitlines()][-2:] == ["250", "221"], answers
    assert c.subjects(name).count(subject) == 1
    answers = say_all(c.port("site-b", "imap"), f"a LOGIN {name} {PASSWORD}\r\nb SELECT INBOX\r\nc FETCH 1:* (UID BODY[])\r\n"
                      "d NOOP\r\n".encode())
    assert subject in answers and "d OK" in answers and "BYE" not in answers, answers[-500:]
    # In IDLE nothing can come any more.
    answers = say_all(c.port("site-b", "imap"), f"a LOGIN {name} {PASSWORD}\r\nb SELECT INBOX\r\nc IDLE\r\n".encode())
    assert "b OK" in answers and "+ " in answers, answers
