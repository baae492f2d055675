"""Many IMAP sessions on one mailbox, and the parts of real mail."""

import email
import random
import re
import socket
import threading
import time

from test_8_who import new_mailbox
from world import PASSWORD, tls_context

SECONDS = 6
SESSIONS = 5


class Session:
    """Keeps the client's side of RFC 3501: what sequence numbers mean is known from the responses alone."""

    def __init__(self, c, site, name, to):
        plain = socket.create_connection(("127.0.0.1", c.port(site, "imaps")), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = tls_context().wrap_socket(plain)
        self.file = self.socket.makefile("rb")
        self.name, self.count, self.view, self.flags = name, 0, [], {}
        self.expunge_allowed = True
        self.response()
        assert self.command(f"LOGIN {to} {PASSWORD}")[0].startswith(b"OK")

    def response(self):
        whole = b""
        while True:
            line = self.file.readline()
            assert line, f"{self.name}: closed"
            whole += line
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if not literal:
                return whole
            whole += self.file.read(int(literal[1]))

    def note(self, line):
        found = re.match(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH)", line)
        if not found:
            return
        number, what = int(found[1]), found[2]
        if what == b"EXPUNGE":
            assert self.expunge_allowed, f"{self.name}: EXPUNGE where RFC 3501 section 7.4.1 forbids it"
            self.view.pop(number - 1)
        elif what == b"EXISTS":
            assert number >= len(self.view), f"{self.name}: EXISTS shrinks the folder"
            self.view += [None] * (number - len(self.view))
        else:
            uid = re.search(rb"UID (\d+)", line)
            if uid:
                uid = int(uid[1])
                assert self.view[number - 1] in (None, uid), f"{self.name}: {line} but {self.view[number - 1]}"
                self.view[number - 1] = uid
                flags = re.search(rb"FLAGS \(([^)]*)\)", line)
                if flags:
                    self.flags[uid] = set(flags[1].split()) - {b"\\Recent"}

    def command(self, text, literal=None, expunge_allowed=True):
        self.count += 1
        self.expunge_allowed = expunge_allowed
        tag = f"{self.name}{self.count} ".encode()
        data = tag + text.encode()
        if literal is not None:
            data += b" {%d+}\r\n" % len(literal) + literal
        self.socket.sendall(data + b"\r\n")
        lines = []
        while True:
            line = self.response()
            if line.startswith(tag):
                return line[len(tag):], lines
            self.note(line)
            lines.append(line)

    def idle(self, seconds):
        self.expunge_allowed = True
        self.socket.sendall(b"idle IDLE\r\n")
        line = self.response()
        while not line.startswith(b"+"):
            self.note(line)
            line = self.response()
        time.sleep(seconds)
        self.socket.sendall(b"DONE\r\n")
        line = self.response()
        while not line.startswith(b"idle "):
            self.note(line)
            line = self.response()

    def select(self, folder="INBOX"):
        self.view, self.flags = [], {}
        assert self.command(f"SELECT {folder}")[0].startswith(b"OK")
        self.command("FETCH 1:* (UID FLAGS)", expunge_allowed=False)

    def settle(self):
        self.command("NOOP")
        self.command("FETCH 1:* (UID FLAGS)", expunge_allowed=False)
        return self.view, {uid: self.flags[uid] for uid in self.view}


def act(session, choose):
    size = len(session.view)
    first = choose.randint(1, max(size, 1))
    last = min(first + 10, size)
    what = choose.random()
    if what < 0.25 or size < 5:
        return session.command("APPEND INBOX ($Mark)", b"Subject: s%d\r\n\r\nbody\r\n" % choose.randrange(9))
    if what < 0.5:
        flag = choose.choice(["\\Seen", "\\Answered", "$Work", "\\Deleted"])
        silent = choose.choice(["", ".SILENT"])
        return session.command(f"STORE {first}:{last} {choose.choice('+-')}FLAGS{silent} ({flag})", None, False)
    if what < 0.65:
        return session.command(f"FETCH {first}:{last} (UID FLAGS ENVELOPE BODY[])", None, False)
    if what < 0.73:
        return session.command("EXPUNGE")
    if what < 0.8:
        return session.command("SEARCH UNSEEN KEYWORD $Work SUBJECT s3", None, False)
    if what < 0.86:
        return session.command(f"UID MOVE {session.view[first - 1] or 1} Trash")
    if what < 0.9:
        return session.command(f"COPY {first} INBOX")
    if what < 0.95:
        session.idle(0.02)
    else:
        session.select()
    return b"OK", []


def test_concurrent_sessions_see_one_folder(c):
    name, sessions, errors, operations = new_mailbox(c, "concurrent"), [], [], []
    end = time.monotonic() + SECONDS

    def run(number):
        try:
            choose = random.Random(number)
            session = Session(c, ("site-a", "site-b")[number % 2], f"s{number}n", name)
            session.select()
            sessions.append(session)
            while time.monotonic() < end:
                answer = act(session, choose)[0]
                assert answer.startswith((b"OK", b"NO [EXPUNGEISSUED]")), answer
                operations.append(number)
        except Exception as error:
            errors.append(f"session {number}: {error!r}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len(operations) > 100
    for session in sessions:
        session.settle()
    views = [session.settle() for session in sessions]
    fresh = Session(c, "site-b", "fresh", name)
    fresh.select()
    for view in views:
        assert view == fresh.settle(), "sessions disagree on the folder"


def test_parts_of_nested_mail_are_its_bytes(c):
    inner = (b"Subject: inner\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\n\r\nplain\r\n"
             b"--in\r\nContent-Type: text/html\r\n\r\n<b>html</b>\r\n--in--\r\n")
    text = (b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nContent-Type: multipart/mixed; boundary=\"o u t\"\r\n\r\n--o u t\r\n\r\n"
            b"first\r\n--o u t\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--o u t\r\n"
            b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--o u t--\r\n")
    imap = c.imap("site-b", new_mailbox(c, "nested"))
    assert imap.append("INBOX", None, None, text)[0] == "OK"
    imap.select("INBOX")

    def part(section):
        return imap.fetch("1", f"(BODY.PEEK[{section}])")[1][0][1]

    assert part("") == text
    assert part("1") == b"first"
    assert part("2.HEADER").startswith(b"Subject: inner\r\n")
    assert part("2.1") == b"plain"
    assert part("2.2") == b"<b>html</b>"
    assert part("2.2.MIME") == b"Content-Type: text/html\r\n\r\n"
    assert part("3") == b"AAAA"
    assert part("HEADER") + part("TEXT") == text
    assert email.message_from_bytes(part("2")).get_payload(0).get_payload() == "plain"
    assert imap.search("UTF-8", "SUBJECT", b'"gr\xc3\xbc"')[1] == [b"1"]
    assert imap.search(None, "BODY", "html")[1] == [b"1"]
    assert imap.search(None, "BODY", "AAAA")[1] == [b""]
    imap.logout()


def test_condstore_tells_what_changed(c):
    session = Session(c, "site-a", "c", new_mailbox(c, "changed"))
    for number in range(3):
        assert session.command("APPEND INBOX", b"Subject: %d\r\n\r\n" % number)[0].startswith(b"OK [APPENDUID")
    answer, lines = session.command("SELECT INBOX (CONDSTORE)")
    token = int(re.search(rb"HIGHESTMODSEQ (\d+)", b"".join(lines))[1])
    answer, lines = session.command("STORE 2 +FLAGS.SILENT (\\Flagged)", None, False)
    assert answer.startswith(b"OK") and b"MODSEQ" in lines[0]
    answer, lines = session.command(f"FETCH 1:* (FLAGS) (CHANGEDSINCE {token})", None, False)
    assert len(lines) == 1 and lines[0].startswith(b"* 2 FETCH"), lines
    answer, lines = session.command(f"STORE 1:3 (UNCHANGEDSINCE {token}) +FLAGS (\\Seen)", None, False)
    assert answer.startswith(b"OK [MODIFIED 2]"), answer
    answer, lines = session.command(f"SEARCH MODSEQ {token + 1}", None, False)
    assert lines[0].startswith(b"* SEARCH 1 2 3 (MODSEQ "), lines


def flags_of(session, number):
    found = re.search(rb"FLAGS \(([^)]*)\)", session.command(f"FETCH {number} FLAGS", None, False)[1][0])
    return set(found[1].split()) - {b"\\Recent"}


def test_a_folder_with_all_its_keywords_takes_mail_and_gives_unused_ones_away(c):
    session, message = Session(c, "site-b", "k", new_mailbox(c, "keywords")), b"Subject: k\r\n\r\nbody\r\n"
    for folder in ("full", "other"):
        assert session.command(f"CREATE {folder}")[0].startswith(b"OK")
        assert session.command(f"APPEND {folder}", message)[0].startswith(b"OK")
    session.select("full")
    keywords = [f"k{number}" for number in range(56)]
    assert session.command(f"STORE 1 +FLAGS ({' '.join(keywords)})", None, False)[0].startswith(b"OK")
    assert session.command("STORE 1 +FLAGS (new)", None, False)[0].startswith(b"NO [LIMIT]")
    assert session.command("STORE 1 +FLAGS (\\Flagged new)", None, False)[0].startswith(b"OK")
    assert flags_of(session, 1) == {b"\\Flagged"} | {word.encode() for word in keywords}
    # APPEND, COPY and MOVE keep the message, and what flags have a place.
    assert session.command("APPEND full (\\Seen new)", message)[0].startswith(b"OK")
    session.select("other")
    assert session.command("STORE 1 +FLAGS (new k7)", None, False)[0].startswith(b"OK")
    assert session.command("COPY 1 full")[0].startswith(b"OK")
    assert session.command("MOVE 1 full")[0].startswith(b"OK")
    session.select("full")
    assert [flags_of(session, number) for number in (2, 3, 4)] == [{b"\\Seen"}, {b"k7"}, {b"k7"}]
    # Those that no message has any more make room.
    session.command("STORE 1 +FLAGS.SILENT (\\Deleted)", None, False)
    session.command("EXPUNGE")
    assert session.command("STORE 1 +FLAGS (new)", None, False)[0].startswith(b"OK")
    assert flags_of(session, 1) == {b"\\Seen", b"new"} and flags_of(session, 2) == {b"k7"}


def test_a_client_that_does_not_read_holds_nobody_up(c):
    name = new_mailbox(c, "unread")
    sessions = [Session(c, "site-a", f"b{number}n", name) for number in range(3)]
    message = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 60000 + b"\r\n"
    for _ in range(5):
        assert sessions[0].command("APPEND INBOX", message)[0].startswith(b"OK")
    for session in sessions[:2]:
        session.command("SELECT INBOX")
        session.socket.sendall(b"x FETCH 1:5 (BODY.PEEK[])\r\n" * 10)
    time.sleep(0.5)
    begin = time.monotonic()
    assert sessions[2].command("STATUS INBOX (MESSAGES)")[1] == [b"* STATUS INBOX (MESSAGES 5)\r\n"]
    assert time.monotonic() - begin < 1
    for session in sessions[:2]:
        done = 0
        while done < 10:
            line = session.response()
            assert not line.startswith(b"* 1 FETCH") or message in line
            done += line.startswith(b"x OK")
