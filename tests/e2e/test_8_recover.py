"""Expunged messages are kept for as long as their domain says, and come back as they were."""

import glob
import hashlib
import os
import re
import signal
import time

import demo
from test_6_disks import data_of
from test_7_space import MIB, NODES, free_soon, segment_of, used
from test_8_domains import refusal
from world import PASSWORD, make_message, user, wait_for

SLOW = True

KEPT = f"kept{os.getpid()}.example"
DAYS = 3
FIRST_SEEN = '"01-Feb-2021 03:04:05 +0000"'


def volume(c):
    return next(v["volume"] for v in c.pando_json("volume", "list") if v["primary_node"] == "node-a1")


def set_days(c, days, name=None):
    """And the node that serves the mailbox knows."""
    c.pando("domain", "set", KEPT, "--keep-expunged-days", str(days))
    if name and days:
        wait_for("the node to know", 10, lambda: is_answered(c, name))


def is_answered(c, name):
    try:
        c.pando("message", "expunged", name)
        return True
    except demo.Failure:
        return False


def make(c, local, days=DAYS, *options):
    """A mailbox of its own, in a domain that keeps, with one message in INBOX."""
    name = f"{local}@{KEPT}"
    if KEPT not in [d["domain"] for d in c.pando_json("domain", "list")]:
        c.pando("domain", "add", KEPT)
    c.pando("mailbox", "add", name, "--password", PASSWORD, "--volume", volume(c), *options)
    wait_for(name, 10, lambda: c.send("site-a", name))
    wait_for("its mail", 10, lambda: len(c.mailbox(name)[0]) >= 1)
    set_days(c, days, name)
    return name


def drop(c, *names):
    for name in names:
        c.pando("mailbox", "remove", name)


def store(c, imap, folder, flags, size=2000):
    subject = c.unique("kept")
    assert imap.append(folder, flags, FIRST_SEEN, make_message(subject, size))[0] == "OK"
    return subject


def in_folder(c, name, folder, site="site-a"):
    """{subject: (flags, INTERNALDATE, digest)} and how many there are."""
    imap = c.imap(site, name)
    status, answer = imap.select(f'"{folder}"', readonly=True)
    assert status == "OK", (folder, answer)
    found, count = {}, 0
    for part in imap.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")[1]:
        if isinstance(part, tuple):
            flags = frozenset(re.search(rb"FLAGS \(([^)]*)\)", part[0])[1].split()) - {b"\\Recent"}
            date = re.search(rb'INTERNALDATE "([^"]*)"', part[0])[1]
            subject = re.search(rb"(?m)^Subject: (.*?)\r$", part[1])[1].decode()
            found[subject] = (flags, date, hashlib.sha256(part[1]).hexdigest())
            count += 1
    imap.logout()
    return found, count


def expunge(imap, folder, messages="1:*"):
    assert imap.select(f'"{folder}"')[0] == "OK"
    imap.store(messages, "+FLAGS.SILENT", "\\Deleted")
    assert imap.expunge()[0] == "OK"


def listed(c, name, *options):
    return {row["subject"]: row for row in c.pando_json("message", "expunged", name, *options)}


def test_an_expunged_message_comes_back_into_its_folder_with_flags_date_and_bytes_as_they_were(c):
    name = make(c, "anna")
    imap = c.imap("site-b", name)
    imap.create("Projects/Roof")
    for folder in ("INBOX", "Projects/Roof"):
        for flags in ("(\\Seen $Work)", "(\\Flagged \\Answered)"):
            store(c, imap, f'"{folder}"', flags)
    # What is copied and then expunged, as old clients move, is not lost.
    moved = store(c, imap, "INBOX", "()")
    imap.select("INBOX")
    imap.copy("4", "Archive")
    before = {folder: in_folder(c, name, folder)[0] for folder in ("INBOX", "Projects/Roof")}
    now = int(time.time())
    expunge(imap, "INBOX")
    assert imap.select("INBOX")[1] == [b"0"]
    assert imap.delete("Projects/Roof")[0] == "OK"
    rows = listed(c, name)
    assert set(rows) == (set(before["INBOX"]) | set(before["Projects/Roof"])) - {moved}, rows
    for folder, messages in before.items():
        for subject in set(messages) - {moved}:
            row = rows[subject]
            assert row["folder"] == folder and row["folder_is_gone"] == (folder != "INBOX"), row
            assert row["uid"] > 0 and row["size"] >= 100 and "@" in row["from"], row
            day = 86400
            kept_s = [time.mktime(time.strptime(row[key], "%Y-%m-%dT%H:%M:%SZ")) for key in ("expunged", "kept_until")]
            assert kept_s[1] - kept_s[0] == DAYS * day, row
            assert row["expunged"] >= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 2)), row
    assert set(listed(c, name, "--folder", "Projects/Roof")) == set(before["Projects/Roof"])
    assert listed(c, name, "--since", "1h") == rows and listed(c, name, "--since", "2100-01-01") == {}
    # One by its UID, then all of a folder that is made anew, then the rest; each once.
    one = next(iter(set(before["Projects/Roof"])))
    c.pando("message", "recover", name, "--folder", "Projects/Roof", "--uid", str(rows[one]["uid"]))
    assert in_folder(c, name, "Projects/Roof") == ({one: before["Projects/Roof"][one]}, 1)
    back = c.pando_json("message", "recover", name, "--all")
    assert len(back) == len(rows) - 1 and all(row["result"] == "recovered" for row in back), back
    assert in_folder(c, name, "Projects/Roof") == (before["Projects/Roof"], 2)
    wanted = {s: v for s, v in before["INBOX"].items() if s != moved}
    assert in_folder(c, name, "INBOX") == (wanted, len(wanted))
    for _ in range(2):
        assert c.pando_json("message", "recover", name, "--all") == []
        assert in_folder(c, name, "INBOX")[1] == len(wanted)
    # Expunged once more, it is kept once more; this time it goes elsewhere.
    expunge(imap, "INBOX")
    assert set(listed(c, name)) == set(wanted)
    c.pando("message", "recover", name, "--since", "1h", "--to", "Found again/Ä")
    imap.logout()
    folder = "Found again/&AMQ-"
    assert in_folder(c, name, folder) == (wanted, len(wanted))
    drop(c, name)


def test_what_is_kept_does_not_count_against_the_quota_and_what_comes_back_does(c):
    name = make(c, "full", DAYS, "--quota", "60000")
    imap = c.imap("site-a", name)
    subject = store(c, imap, "Drafts", "()", 40000)
    expunge(imap, "Drafts")
    store(c, imap, "Drafts", "()", 40000)
    said = refusal(c, "message", "recover", name, "--folder", "Drafts")
    assert "0 of 1" in said, said
    expunge(imap, "Drafts")
    c.pando("message", "recover", name, "--folder", "Drafts", "--uid", str(listed(c, name)[subject]["uid"]))
    imap.logout()
    assert list(in_folder(c, name, "Drafts")[0]) == [subject]
    drop(c, name)


def test_what_is_kept_is_kept_over_a_failover_and_an_index_that_is_made_anew(c):
    name = make(c, "moves")
    imap = c.imap("site-a", name)
    for _ in range(3):
        store(c, imap, "Sent", "(\\Seen $Plan)")
    before = in_folder(c, name, "Sent")
    expunge(imap, "Sent")
    imap.logout()
    rows = listed(c, name)
    assert set(rows) == set(before[0])
    where = volume(c)
    number = {v["volume"]: v["id"] for v in c.pando_json("volume", "list")}[where]
    c.pando("failover", where, "--to", "site-b")
    try:
        wait_for("the list", 10, lambda: is_answered(c, name))
        assert listed(c, name) == rows
        c.daemon("node-b1/node").stop(signal.SIGKILL)
        for path in glob.glob(os.path.join(data_of(c, "node-b1", "index"), f"{number}.sqlite*")):
            os.remove(path)
        said = refusal(c, "message", "expunged", name)
        assert "node-b1" in said and "pando failover" in said, said
        c.start()
        c.wait_serving(seconds=60)
        wait_for("the list", 10, lambda: is_answered(c, name))
        assert listed(c, name) == rows
        c.pando("message", "recover", name, "--all")
        assert in_folder(c, name, "Sent") == before
    finally:
        c.heal()
    wait_for("the list", 10, lambda: is_answered(c, name))
    assert in_folder(c, name, "Sent") == before and listed(c, name) == {}
    drop(c, name)


def test_what_cannot_be_recovered_is_refused_with_the_reason(c):
    name = make(c, "refused", 0)
    assert "--keep-expunged-days" in refusal(c, "message", "expunged", name)
    assert "--keep-expunged-days" in refusal(c, "message", "recover", name, "--all")
    assert "there is no mailbox" in refusal(c, "message", "recover", f"nobody@{KEPT}", "--all")
    assert "366" not in str(c.pando_json("domain", "list"))
    row = next(d for d in c.pando_json("domain", "list") if d["domain"] == KEPT)
    assert row["keep_expunged_days"] == 0 and row["mailboxes"] >= 1, row
    # What went before the domain kept anything is not kept.
    imap = c.imap("site-a", name)
    store(c, imap, "Sent", "()")
    expunge(imap, "Sent")
    set_days(c, DAYS, name)
    assert listed(c, name) == {}
    # And a session that was there before keeps what it expunges from now on.
    subject = store(c, imap, "Sent", "()")
    expunge(imap, "Sent")
    assert set(listed(c, name)) == {subject}
    assert next(d for d in c.pando_json("domain", "list") if d["domain"] == KEPT)["keep_expunged_days"] == DAYS
    # A home that hangs is waited for as long as for any answer, not as long as it may look.
    home, began = c.daemon(f"{c.home(name)['home']}/node"), time.monotonic()
    home.send(signal.SIGSTOP)
    try:
        assert "does not answer" in refusal(c, "message", "expunged", name)
        assert time.monotonic() - began < 20
    finally:
        home.send(signal.SIGCONT)
    set_days(c, 0)
    assert "keeps nothing" in refusal(c, "message", "expunged", name)
    imap.logout()
    drop(c, name)


def test_room_comes_back_when_the_domain_keeps_no_longer_and_not_before(c):
    name = make(c, "large")
    number = {v["volume"]: v["id"] for v in c.pando_json("volume", "list")}[volume(c)]
    free_soon(c, 1)
    try:
        imap = c.imap("site-a", name)
        first = store(c, imap, "Archive", "(\\Seen)", MIB)
        for _ in range(11):
            store(c, imap, "Archive", "()", MIB)
        before = in_folder(c, name, "Archive")[0]
        expunge(imap, "Archive")
        # All of it is below the last segment, where room can come back.
        segment = segment_of(c, c.home(name)["volume"])
        while segment_of(c, c.home(name)["volume"]) == segment:
            store(c, imap, "Trash", "()", MIB)
        imap.logout()
        full = {node: used(c, node, number) for node in NODES}
        time.sleep(15)
        assert all(used(c, node, number) > full[node] - MIB for node in NODES)
        assert len(listed(c, name)) == 12
        c.pando("message", "recover", name, "--folder", "Archive", "--uid", str(listed(c, name)[first]["uid"]))
        set_days(c, 0)
        wait_for("room at both sites", 60,
                 lambda: all(used(c, node, number) < full[node] - 9 * MIB for node in NODES))
        assert in_folder(c, name, "Archive") == ({first: before[first]}, 1)
        # Its room has gone: it is not listed again, whatever the domain says then.
        set_days(c, DAYS, name)
        assert listed(c, name) == {}
    finally:
        free_soon(c, None)
    drop(c, name)
    set_days(c, 0)
