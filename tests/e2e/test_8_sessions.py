"""Sessions end within a second when their mailbox is disabled, removed, or gets another password."""

import imaplib
import signal
import socket
import time

from world import DOMAIN, PASSWORD, wait_for

# What is promised; `pando` itself takes a few hundredths of it.
SECONDS_MAX = 1.0
OTHER = "another password"


class Idle:
    """A client that sits in IDLE, or does nothing at all, until it is told to go."""

    def __init__(self, c, site, name, idles, password=PASSWORD):
        self.imap = c.imap(site, login=False)
        self.imap.login(name, password)
        self.imap.select("INBOX")
        if idles:
            self.imap.send(b"i IDLE\r\n")
            assert self.imap.readline().startswith(b"+")
        self.imap.sock.settimeout(10)

    def bye(self):
        """What the server says last; the connection is closed behind it."""
        line, last = b"-", b""
        while line:
            last, line = line, self.imap.readline()
        self.imap.shutdown()
        return last.decode().strip()

    def is_open(self):
        self.imap.sock.setblocking(False)
        try:
            return self.imap.sock.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        finally:
            self.imap.sock.setblocking(True)


def new_mailbox(c, word):
    name = f"{c.unique(word)}@{DOMAIN}"
    c.pando("mailbox", "add", name, "--password", PASSWORD)

    def served():
        try:
            for site in ("site-a", "site-b"):
                c.imap(site, name).logout()
            return True
        except imaplib.IMAP4.error:
            return False
    wait_for(name, 5, served)
    return name


def sessions(c, name, password=PASSWORD):
    # The homes may hear of the last change a moment later than the routers, and end what began before they did.
    time.sleep(0.5)
    return [Idle(c, site, name, idles, password) for site in ("site-a", "site-b") for idles in (True, False)]


def end(c, name, words, *command):
    own, others = sessions(c, name), sessions(c, c.other)
    start = time.monotonic()
    c.pando(*command)
    for session in own:
        said = session.bye()
        assert said.startswith("* BYE ") and words in said, said
    took = time.monotonic() - start
    assert took < SECONDS_MAX, f"{' '.join(command)}: {took:.2f} s"
    for session in others:
        assert session.is_open(), command
        session.imap.shutdown()


def test_disabling_and_a_new_password_and_removing_end_sessions_at_every_site(c):
    name = new_mailbox(c, "ended")
    c.other = new_mailbox(c, "goes-on")
    end(c, name, "has been disabled", "mailbox", "set", name, "--enabled", "no")
    c.pando("mailbox", "set", name, "--enabled", "yes")
    wait_for("it to be served again", 5, lambda: logs_in(c, name, PASSWORD))
    end(c, name, "password or address has changed", "mailbox", "passwd", name, "--password", OTHER)
    wait_for("the new password", 5, lambda: logs_in(c, name, OTHER))
    assert not logs_in(c, name, PASSWORD)
    c.pando("mailbox", "passwd", name, "--password", PASSWORD)
    wait_for("the old password", 5, lambda: logs_in(c, name, PASSWORD))
    end(c, name, "has been removed", "mailbox", "remove", name)


def logs_in(c, name, password):
    try:
        for site in ("site-a", "site-b"):
            imap = c.imap(site, login=False)
            imap.login(name, password)
            imap.logout()
        return True
    except imaplib.IMAP4.error:
        return False


def test_what_is_no_matter_of_access_ends_nothing(c):
    name = new_mailbox(c, "quota")
    own = sessions(c, name)
    c.pando("mailbox", "set", name, "--quota", "1000000", "--durability", "local")
    c.pando("alias", "add", f"{c.unique('alias')}@{DOMAIN}", name)
    time.sleep(1)
    for session in own:
        assert session.is_open()
        session.imap.shutdown()


def test_the_home_ends_sessions_of_a_router_that_does_not(c):
    """A router that stands still, or is cut off from the directory, passes bytes on for whom it let in."""
    name = new_mailbox(c, "cut-off")
    home = c.home(name)
    session = Idle(c, "site-b", name, True)
    c.daemon("router-b/router").send(signal.SIGSTOP)
    try:
        c.pando("mailbox", "set", name, "--enabled", "no")
        wait_for("the home to end it", SECONDS_MAX, lambda: "imap_closed" in node_log(c, home["home"], name))
    finally:
        c.daemon("router-b/router").send(signal.SIGCONT)
    assert "has been disabled" in session.bye()


def node_log(c, node, name):
    """What the node has said of the mailbox in its last session."""
    with open(c.daemon(f"{node}/node").log) as file:
        return [line for line in file if name in line][-1]
