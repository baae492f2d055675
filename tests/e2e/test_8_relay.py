"""Other people's addresses: submission, the queue, a smart host that is not ours, and the bounce."""

import email
import email.policy
import os
import socket
import threading

from world import PASSWORD, tls_context, user, wait_for


class SmartHost(threading.Thread):
    """Takes mail for everybody but refused@; neither DSN nor CHUNKING, as hosts of old."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.messages = []  # (sender, recipients, bytes)

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as file:
                self.serve(file)

    def serve(self, file):
        def say(text):
            file.write(text.encode() + b"\r\n")
            file.flush()

        sender, recipients = "", []
        say("220 smart.example")
        while line := file.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                say("250-smart.example\r\n250-8BITMIME\r\n250 SIZE")
            elif verb == "MAIL":
                sender = line.split("<")[1].split(">")[0]
                say("250 ok")
            elif verb == "RCPT":
                address = line.split("<")[1].split(">")[0]
                refused = address.startswith("refused@")
                recipients += [] if refused else [address]
                say("550 5.1.1 Nobody of that name" if refused else "250 ok")
            elif verb == "DATA":
                say("354 go on")
                text = b""
                while (part := file.readline()) != b".\r\n":
                    text += part[1:] if part.startswith(b".") else part
                self.messages.append((sender, recipients, text))
                say("250 taken")
            else:
                say("221 bye")
                return


def reports(c, name):
    """The delivery reports in a mailbox."""
    imap = c.imap(to=name)
    imap.select(readonly=True)
    numbers = imap.search(None, "ALL")[1][0].split()
    found = [imap.fetch(number, "(BODY.PEEK[])")[1][0][1] for number in numbers]
    imap.logout()
    messages = [email.message_from_bytes(text, policy=email.policy.default) for text in found]
    return [m for m in messages if m.get_content_type() == "multipart/report"]


def test_relayed_message_arrives_and_what_is_refused_bounces(c):
    host = SmartHost()
    host.start()
    router = c.daemon("router-a/router")
    before = open(router.config).read()
    router.stop()
    try:
        with open(router.config, "a") as file:
            file.write(f"relay_host = 127.0.0.1:{host.port}\n")
        router.start()
        wait_for("the router", 10, lambda: c.raw().greeting[0] == 220)
        with c.smtp("site-a", "submission") as smtp:
            smtp.starttls(context=tls_context())
            smtp.login(user(63), PASSWORD)
            refused = smtp.sendmail(user(63), ["taken@else.example", "refused@else.example", "taken@else.example"],
                                    b"Subject: relayed\r\n\r\n.dot\r\n", ["RET=HDRS", "ENVID=e2e"])
            assert not refused, refused
        wait_for("the message at the smart host", 10, lambda: host.messages)
        wait_for("the bounce", 10, lambda: reports(c, user(63)))
    finally:
        router.stop()
        with open(router.config, "w") as file:
            file.write(before)
        os.chmod(router.config, 0o600)
        host.listener.close()
        c.heal()
    sender, recipients, text = host.messages[0]
    assert len(host.messages) == 1 and (sender, recipients) == (user(63), ["taken@else.example"]), host.messages
    assert text.endswith(b"\r\n\r\n.dot\r\n") and b"with ESMTPSA" in text, text
    report, = reports(c, user(63))
    kinds = [part.get_content_type() for part in report.iter_parts()]
    assert kinds == ["text/plain", "message/delivery-status", "text/rfc822-headers"], kinds
    whole, about = list(report.iter_parts())[1].get_payload()
    assert whole["Original-Envelope-Id"] == "e2e" and whole["Reporting-MTA"].startswith("dns; ")
    assert about["Final-Recipient"] == "rfc822; refused@else.example" and about["Action"] == "failed"
    assert about["Status"] == "5.1.1" and about["Diagnostic-Code"] == "smtp; 550 5.1.1 Nobody of that name"
    assert report["Return-Path"] == "<>" and str(report["To"]) == user(63) and not report.defects
