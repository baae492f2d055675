"""One machine without PostgreSQL, and its move to PostgreSQL later."""

import imaplib
import os
import re
import shutil
import smtplib
import subprocess
import tempfile

import demo
from world import OFFSET, make_message, tls_context, wait_for

NAME = "anna@alone.example"


class Machine:
    """What `pando init --standalone` makes, with its ports moved to free ones."""

    def __init__(self, folder):
        self.folder, self.conf = folder, os.path.join(folder, "pando.conf")
        demo.run(demo.PANDO, "--config", self.conf, "init", "--standalone", "--domain", "alone.example", "--data-dir",
                 os.path.join(folder, "data"), "--node", "alone", "--hostname", "mail.alone.example",
                 "--internal-port", str(4800 + OFFSET))
        text = open(self.conf).read()
        self.smtp, self.imaps = 4925 + OFFSET, 4926 + OFFSET
        moved = {"[::]:25": f"127.0.0.1:{self.smtp}", "[::]:587": f"127.0.0.1:{4927 + OFFSET}",
                 "[::]:465": f"127.0.0.1:{4928 + OFFSET}", "[::]:143": f"127.0.0.1:{4929 + OFFSET}",
                 "[::]:993": f"127.0.0.1:{self.imaps}"}
        for old, new in moved.items():
            text = text.replace(f"= {old}\n", f"= {new}\n")
        with open(self.conf, "w") as file:
            file.write(text + f"run_dir = {folder}/run\n" + ("user = nobody\n" if os.getuid() == 0 else ""))
        os.makedirs(os.path.join(folder, "run"))
        if os.getuid() == 0:
            demo.run("chown", "-R", "nobody", folder)
        self.daemons = []
        for kind in ("node", "router"):
            daemon = demo.Daemon(folder, kind, "main")
            self.daemons.append(daemon)

    def start(self):
        for daemon in self.daemons:
            daemon.start()

    def stop(self):
        for daemon in self.daemons:
            daemon.stop()

    def pando(self, *arguments):
        return demo.run(demo.PANDO, "--config", self.conf, *arguments)

    def send(self, subject):
        with smtplib.SMTP("127.0.0.1", self.smtp, "client.example.net", timeout=10) as smtp:
            smtp.sendmail("s@example.net", [NAME], make_message(subject))
        return subject

    def count(self):
        imap = imaplib.IMAP4_SSL("127.0.0.1", self.imaps, ssl_context=tls_context(), timeout=10)
        imap.login(NAME, "secret word")
        number = int(imap.select("INBOX", readonly=True)[1][0])
        imap.logout()
        return number


def backed_up(machine):
    """Its replicator has nothing else to do."""
    target, key = os.path.join(machine.folder, "backup"), os.path.join(machine.folder, "backup.key")
    os.mkdir(target)
    public = re.search("pando-backup-public:[0-9a-f]{64}", machine.pando("backup", "key", "--out", key)).group()
    command = [demo.PANDO, "--config", machine.conf, "backup", "--to", target, "--key", public, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "cannot be reached" in done.stderr, done.stderr
    replicator = demo.Daemon(machine.folder, "replicator", "main")
    replicator.start()
    try:
        wait_for("a backup", 15, lambda: subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0)
        machine.pando("backup", "verify", "--from", target, "--key", key)
        assert "GOOD" in machine.pando("restore", "--from", target, "--key", key, "--drill")
        back = machine.pando("restore", "--from", target, "--key", key, "--mailbox", NAME)
        assert "1 message brought back" in back, back
    finally:
        replicator.stop()


def test_standalone_serves_and_moves_to_postgres(c):
    folder = tempfile.mkdtemp(prefix="pando-alone-")
    machine = Machine(folder)
    try:
        done = subprocess.run([demo.PANDO, "--config", machine.conf, "check"], stdout=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "it has one copy: start its node\n" in done.stdout, done.stdout
        machine.start()
        machine.pando("mailbox", "add", NAME, "--password", "secret word")
        wait_for("the standalone door", 15, lambda: machine.send("one"))
        wait_for("its mail", 5, lambda: machine.count() == 1)
        # A volume without much mail takes little room, its index included.
        volumes = [name for name in os.listdir(f"{machine.folder}/data/volumes") if name.isdigit()]
        taken = sum(os.stat(os.path.join(folder, name)).st_blocks * 512
                    for part in ("volumes", "index") for folder, _, names in os.walk(f"{machine.folder}/data/{part}")
                    for name in names)
        assert volumes and taken < len(volumes) << 20, taken
        for daemon in machine.daemons:
            uids = re.search(r"^Uid:(.*)$", open(f"/proc/{daemon.pid()}/status").read(), re.M).group(1)
            assert "0" not in uids.split(), uids
        machine.pando("mailbox", "add", "gone@alone.example", "--no-password")
        machine.pando("mailbox", "remove", "gone@alone.example")
        backed_up(machine)
        url = re.search(r"^directory = (.*)$", open(c.conf).read(), re.M).group(1)
        subprocess.run([f"{demo.POSTGRES_BIN}/psql", "-q", url, "-c", "create database alone"], check=True)
        machine.pando("init", "--postgres", re.sub(r"/pando$", "/alone", url))
        assert "directory = postgresql://" in open(machine.conf).read()
        machine.stop()
        machine.start()
        wait_for("the door after the move", 15, lambda: machine.send("two"))
        wait_for("both messages", 5, lambda: machine.count() == 2)
        listed = machine.pando("mailbox", "list", "--json")
        assert NAME in listed
        machine.pando("mailbox", "restore", "gone@alone.example")
        assert "gone@alone.example" in machine.pando("mailbox", "list")
    finally:
        machine.stop()
        shutil.rmtree(folder)
