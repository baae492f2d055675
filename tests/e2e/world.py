"""The cluster under test and the clients that speak to it."""

import fcntl
import hashlib
import imaplib
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy"))
import demo  # noqa: E402

DOMAIN, PASSWORD = demo.DOMAIN, demo.PASSWORD
Failure = demo.Failure
# A machine that does other work beside the tests is slower, not wrong: what a test gives as the time that something takes is
# waited for three times as long. A promise about time is measured by the test itself.
PATIENCE = 3


def wait_for(what, seconds, check):
    return demo.wait_for(what, seconds * PATIENCE, check)



claims = {}


def free_offset():
    """Beside a demo, or other runs, that may be on this machine; below the ports of outgoing connections."""
    for offset in range(4000, 25001, 1000):
        taken = []
        try:
            # A thousand ports per site. Held until this process or its cluster ends: another run takes others.
            for site in range(3):
                taken.append(open(f"/var/tmp/pando-ports-{offset + 1000 * site}.lock", "w"))
                fcntl.flock(taken[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            demo.check_ports(demo.Cluster("/nonexistent", offset), ["site-a", "site-b", "site-c"])
            claims[offset] = taken
            return offset
        except (Failure, OSError):
            for claim in taken:
                claim.close()
    raise Failure("no free range of ports")


def let_go_of_ports(offset):
    for claim in claims.pop(offset, ()):
        claim.close()


OFFSET = free_offset()


def user(number):
    return f"u{number:04d}@{DOMAIN}"


def make_message(identity, size=0, to=None):
    body = "".join(f"{i:06d} the quick brown aspen stands in its grove\r\n" for i in range(size // 50 + 1))
    return (f"From: Sender <sender@example.net>\r\nTo: {to or user(1)}\r\nSubject: {identity}\r\n"
            f"Message-ID: <{identity}@example.net>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\r\n{body}").encode()


def tls_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def unmount(folder):
    """The kernel lets go of a dead process's files a little after the process is gone."""
    wait_for(f"{folder} to be let go", 10,
             lambda: subprocess.run(["umount", folder], stderr=subprocess.PIPE).returncode == 0)


class RawSmtp:
    """Bytes as they are: for what well-behaved libraries refuse to send."""

    def __init__(self, port, greet=True):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()
        if greet:
            self.command("EHLO client.example.net")

    def reply(self):
        lines = []
        while True:
            line = self.file.readline()
            if not line:
                return (0, "closed")
            lines.append(line.decode("utf-8", "replace").rstrip())
            if line[3:4] != b"-":
                return (int(line[:3]), "\n".join(lines))

    def send(self, data):
        self.socket.sendall(data)

    def command(self, line):
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def close(self):
        self.file.close()
        self.socket.close()


class World(demo.Cluster):
    sent = 0

    def smtp(self, site="site-a", service="smtp"):
        return smtplib.SMTP("127.0.0.1", self.port(site, service), "client.example.net", timeout=30)

    def raw(self, site="site-a", service="smtp", greet=True):
        return RawSmtp(self.port(site, service), greet)

    def unique(self, word="m"):
        World.sent += 1
        return f"{word}-{os.getpid()}-{World.sent}"

    def send(self, site, to, identity=None, size=0):
        """Returns the Subject by which the message is found again."""
        identity = identity or self.unique()
        with self.smtp(site) as smtp:
            refused = smtp.sendmail("sender@example.net", to if isinstance(to, list) else [to],
                                    make_message(identity, size))
        assert not refused, refused
        return identity

    def imap(self, site="site-a", to=None, login=True):
        imap = imaplib.IMAP4("127.0.0.1", self.port(site, "imap"), timeout=30)
        if login:
            imap.login(to or user(1), PASSWORD)
        return imap

    def mailbox(self, to, site="site-a", folder="INBOX"):
        """{uid: (subject, digest)} and UIDVALIDITY, UIDNEXT."""
        imap = self.imap(site, to)
        status, answer = imap.select(folder, readonly=True)
        assert status == "OK", answer
        numbers = tuple(int(imap.response(word)[1][0]) for word in ("UIDVALIDITY", "UIDNEXT"))
        found = {}
        if int(answer[0]):
            status, data = imap.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
            assert status == "OK", data
            for item in data:
                if isinstance(item, tuple):
                    uid = int(item[0].split(b"UID ")[1].split()[0].rstrip(b")"))
                    subject = ""
                    for line in item[1].split(b"\r\n\r\n", 1)[0].split(b"\r\n"):
                        if line.lower().startswith(b"subject:"):
                            subject = line.split(b":", 1)[1].strip().decode()
                    found[uid] = (subject, hashlib.sha256(item[1]).hexdigest())
        imap.logout()
        return found, numbers

    def subjects(self, to, site="site-a"):
        return [subject for _, (subject, _) in sorted(self.mailbox(to, site)[0].items())]

    def wait_mail(self, to, subject, site="site-a", seconds=10):
        wait_for(f"{subject} for {to} at {site}", seconds, lambda: subject in self.subjects(to, site))

    def home(self, to):
        return self.pando_json("mailbox", "show", to)

    def pando_json(self, *arguments, check=True):
        import json
        done = subprocess.run([demo.PANDO, "--config", self.conf, *arguments, "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if check and done.returncode != 0:
            raise Failure(f"pando {' '.join(arguments)}: {done.stderr.strip()} {done.stdout.strip()}")
        return json.loads(done.stdout)

    def http(self, port, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def end(self, *servers):
        """Of a test's own cluster: nothing of it is left running, and its ports are free again."""
        self.stop(signal.SIGKILL)
        for stop in servers:
            stop()
        self.postgres_stop("immediate")
        let_go_of_ports(self.offset)

    def heal(self):
        """Everything runs, every volume is served where it prefers to be, replicas in step."""
        self.postgres_running()
        self.start()
        time.sleep(0.05)
        self.wait_serving(seconds=60)
        self.wait_nodes()
        moved = [v for v in self.pando_json("volume", "list") if v["primary_node"] != v["preferred_node"]]
        if moved:
            self.pando("failback", "site-a")
            self.wait_serving(seconds=60)

    def let_go_of_tails(self, node=""):
        """What earlier tests cut off and nothing can bring home holds up whoever takes a copy away. One that is being
        worked off just then is asked for again."""
        def left():
            rows = [row["tail"] for row in self.pando_json("salvage", "list") if row["state"] == "open" and node in row["node"]]
            for tail in rows:
                self.pando("salvage", "discard", tail)
            return not rows
        wait_for("the tails to go", 30, left)

    def wait_nodes(self):
        """The nodes of replicas too."""
        wait_for("every daemon", 30, lambda: all(d["state"] == "up" for d in self.status()["daemons"]))

    def postgres_running(self):
        try:
            with socket.create_connection(("127.0.0.1", self.postgres_port()), 1):
                return
        except OSError:
            self.postgres_start()
