"""What a site that was cut off accepted comes home: exactly once, with its flags, whoever dies meanwhile."""

import glob
import os
import random
import re
import signal
import subprocess
import time

import demo
from runbook import Runbook
from test_6_copies import settled
from test_6_disks import NODE, data_of
from world import DOMAIN, PASSWORD, make_message, user, wait_for

SLOW = True
OTHER = "node-b1"
DATE = '"17-Jul-1996 02:44:25 -0700"'


def users_of(c, count):
    users = [name for name in map(user, range(1, 41)) if c.home(name)["home"] == NODE][:count]
    assert len(users) == count
    return users


def tails(c):
    """Of what the old home has for itself, by the volumes of these tests."""
    return [row for row in c.pando_json("salvage", "list") if row["node"] == NODE]


def open_tails(c):
    return [row for row in tails(c) if row["state"] == "open"]


def begin(c):
    """Lets go of what earlier tests cut off and nothing can bring home: it follows no log here (a disk was put back)."""
    c.heal()
    c.let_go_of_tails(NODE)


def cut_off(c, write):
    """The copy elsewhere is away while the home goes on, and then is all that is left of the site."""
    replicator = c.daemon(f"{OTHER}/replicator")
    replicator.stop(signal.SIGKILL)
    write()
    c.stop(signal.SIGKILL, "site-a")
    replicator.start()
    result = c.pando_json("failover", NODE, "--to", "site-b", "--accept-loss", check=False)
    assert result["volumes"] and all(v["result"] == "served" for v in result["volumes"]), result


def flags_of(c, name, site, folder="INBOX"):
    """{subject: flags} of a folder."""
    imap = c.imap(site, name)
    imap.select(folder, readonly=True)
    _, data = imap.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    imap.logout()
    return {item[1].split(b":", 1)[1].strip().decode(): item[0].decode() for item in data if isinstance(item, tuple)}


def test_a_cut_off_site_brings_home_what_it_accepted(c):
    begin(c)
    users = users_of(c, 3)
    name, other, removed = users
    old = c.send("site-b", name)
    wait_for("nothing at risk", 5, lambda: c.pando_json("at-risk") == [])
    before = {row["tail"] for row in tails(c)}
    sent = {}

    def write():
        for who in users:
            sent[who] = [c.send("site-a", who) for _ in range(5)]
        imap = c.imap("site-a", name)
        imap.create("Kept/One")
        imap.append("Kept/One", "(\\Flagged $Work)", DATE, make_message("appended"))
        imap.select("INBOX")
        uids = {subject: uid for uid, (subject, _) in c.mailbox(name)[0].items()}
        imap.uid("STORE", str(uids[sent[name][0]]), "+FLAGS", "(\\Seen)")
        imap.uid("STORE", str(uids[sent[name][1]]), "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.uid("MOVE", str(uids[sent[name][2]]), "Archive")
        # A copy is one more message; what moved is none.
        imap.uid("COPY", str(uids[old]), "Kept/One")
        imap.uid("MOVE", str(uids[old]), "Archive")
        imap.logout()

    cut_off(c, write)
    told = c.mailbox(name, "site-b")[1][1]
    later = c.send("site-b", name)
    c.pando("mailbox", "remove", removed)
    try:
        c.start("site-a")
        c.wait_serving(seconds=60)
        wait_for("the tails", 30, lambda: {row["tail"] for row in tails(c)} > before)
        wait_for("all to come home", 60, lambda: open_tails(c) == [])
        for site in ("site-a", "site-b"):
            inbox = c.subjects(name, site)
            for subject in (sent[name][0], sent[name][3], sent[name][4], later):
                assert inbox.count(subject) == 1, (site, subject, inbox)
            assert not set(inbox) & {*sent[name][1:3], old}, inbox
        archive = [s for s, _ in c.mailbox(name, folder="Archive")[0].values()]
        assert archive.count(sent[name][2]) == 1 and archive.count(old) == 1, archive
        kept = flags_of(c, name, "site-b", "Kept/One")
        assert set(kept) == {"appended", old}, kept
        assert "\\Flagged" in kept["appended"] and "$Work" in kept["appended"], kept
        assert "17-Jul-1996 09:44:25 +0000" in kept["appended"], kept
        assert "\\Seen" in flags_of(c, name, "site-b")[sent[name][0]]
        assert sorted(c.subjects(other)[-5:]) == sorted(sent[other])
        # No UID that was told on the lost branch is given to another message.
        assert all(uid >= told for uid, (subject, _) in c.mailbox(name)[0].items() if subject in sent[name])
        rows = [row for row in tails(c) if row["tail"] not in before]
        assert sum(row["stored"] for row in rows) >= 5 + 5 + 1, rows
        assert sum(row["kept"] for row in rows) == 5, rows
        assert all(row["messages"] == row["stored"] + row["present"] + row["kept"] for row in rows), rows
        # Of what was there before, what was done on the lost branch is said.
        book = Runbook(c, "Salvage")
        book.command("pando salvage list")
        assert "moves" in book.command("pando salvage show TAIL", TAIL=rows[0]["tail"])
        shown = [c.pando_json("salvage", "show", row["tail"])[0] for row in rows]
        assert sum(row["moves"] for row in shown) == 1, shown
        moved = [row for row in shown if row["moves"]][0]
        assert moved["left"] == 0 and moved["carried"] >= 1, shown
        for row in rows:
            book.command("pando salvage retry TAIL", TAIL=row["tail"])
        wait_for("a second try", 30, lambda: open_tails(c) == [])
        again = [row for row in tails(c) if row["tail"] not in before]
        assert sum(row["stored"] for row in again) == 0, again
        assert c.subjects(name).count(sent[name][0]) == 1
        book.command("pando salvage discard TAIL", TAIL=rows[0]["tail"])
        assert [row["state"] for row in tails(c) if row["tail"] == rows[0]["tail"]] == ["discarded"]
    finally:
        c.pando("mailbox", "restore", removed)
        c.heal()


def place_of(c, name, folders):
    """{subject: (folder, flags)}, of a mailbox without two messages of one subject."""
    found = {}
    for folder in folders:
        for subject, flags in flags_of(c, name, "site-b", folder).items():
            assert subject not in found, (subject, folder, found)
            words = re.search(r"FLAGS \(([^)]*)\)", flags).group(1).split()
            found[subject] = (folder, sorted(set(words) - {"\\Recent"}))
    return found


def folders_of(imap, command="list"):
    return {re.search(r'"/" "?([^"]*)"?$', line.decode()).group(1) for line in getattr(imap, command)()[1] if line}


def test_what_was_done_to_older_mail_comes_home_where_nothing_newer_happened(c):
    begin(c)
    name = f"{c.unique('older')}@{c.home(users_of(c, 1)[0])['address'].split('@')[1]}"
    c.pando("mailbox", "add", name, "--volume", c.home(users_of(c, 1)[0])["volume"], "--password", PASSWORD)
    words = ["flagged", "unseen", "moved", "made", "expunged", "unread", "both", "gone there", "touched there", "alone", "rescued", "copied"]
    wait_for("the mailbox", 5, lambda: c.imap("site-b", name).logout())
    imap = c.imap("site-b", name)
    for word in words:
        flags = {"rescued": "(\\Seen \\Deleted)"}.get(word) or (
            "(\\Seen)" if word in ("unseen", "expunged", "touched there") else None)
        imap.append("INBOX", flags, None, make_message(word))
    for folder in ("Old", "Old/Child", "Taken", "Away"):
        imap.create(folder)
    imap.append("Old/Child", None, None, make_message("child"))
    imap.logout()
    uids = {subject: str(uid) for folder in ("INBOX", "Old/Child") for uid, (subject, _) in
            c.mailbox(name, folder=folder)[0].items()}
    wait_for("nothing at risk", 5, lambda: c.pando_json("at-risk") == [])
    before = {row["tail"] for row in tails(c)}

    def write():
        imap = c.imap("site-a", name)
        imap.select("INBOX")
        imap.uid("STORE", uids["flagged"], "+FLAGS", "(\\Flagged $Work)")
        imap.uid("STORE", uids["unseen"], "-FLAGS", "(\\Seen)")
        for word, folder in (("moved", "Archive"), ("gone there", "Archive")):
            imap.uid("MOVE", uids[word], folder)
        imap.create("Made")
        imap.uid("STORE", uids["made"], "+FLAGS", "(\\Answered)")
        imap.uid("MOVE", uids["made"], "Made")
        imap.uid("COPY", uids["copied"], "Archive")
        for word in ("expunged", "unread", "touched there", "copied"):
            imap.uid("STORE", uids[word], "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.uid("STORE", uids["both"], "+FLAGS", "(\\Seen)")
        imap.rename("Old", "New")
        imap.append("New", None, None, make_message("fresh"))
        imap.rename("Taken", "Other")
        imap.delete("Away")
        imap.subscribe("New")
        imap.select("New/Child")
        imap.uid("STORE", uids["child"], "+FLAGS", "(\\Seen)")
        imap.logout()

    cut_off(c, write)
    imap = c.imap("site-b", name)
    imap.select("INBOX")
    imap.uid("STORE", uids["both"], "+FLAGS", "(\\Flagged)")
    imap.uid("STORE", uids["rescued"], "-FLAGS", "(\\Deleted)")
    imap.uid("STORE", uids["gone there"], "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.uid("STORE", uids["touched there"], "+FLAGS", "($Mine)")
    imap.rename("Taken", "Elsewhere")
    imap.logout()
    c.start("site-a")
    c.wait_serving(seconds=60)
    wait_for("the tails", 30, lambda: {row["tail"] for row in tails(c)} > before)
    wanted = {"flagged": ("INBOX", ["$Work", "\\Flagged"]), "unseen": ("INBOX", []), "moved": ("Archive", []),
              "made": ("Made", ["\\Answered"]), "unread": ("INBOX", []), "both": ("INBOX", ["\\Flagged"]), "rescued": ("INBOX", ["\\Seen"]), "copied": ("Archive", []), "fresh": ("New", []),
              "touched there": ("INBOX", ["$Mine", "\\Seen"]), "alone": ("INBOX", []), "child": ("New/Child", ["\\Seen"])}
    for turn in range(2):
        wait_for("all to come home", 60, lambda: open_tails(c) == [])
        found = place_of(c, name, ("INBOX", "Archive", "Made", "New", "New/Child"))
        assert found == wanted, (turn, found)
        imap = c.imap("site-b", name)
        there, subscribed = folders_of(imap), folders_of(imap, "lsub")
        imap.logout()
        assert {"New", "New/Child", "Made", "Away", "Elsewhere"} <= there and not {"Old", "Taken", "Other"} & there, there
        assert ("New" in subscribed) == (turn == 0), subscribed
        rows = [row for row in tails(c) if row["tail"] not in before]
        shown = [c.pando_json("salvage", "show", row["tail"])[0] for row in rows]
        counts = {key: sum(row[key] for row in shown) for key in
                  ("flags", "moves", "expunges", "folders", "subscriptions", "carried", "left", "failed")}
        # Left: unread, touched there, gone there, both, rescued; Taken, Away.
        assert counts == {"flags": 5, "moves": 3, "expunges": 5, "folders": 5, "subscriptions": 1,
                          "carried": 7 + 3 + 1, "left": 5 + 2, "failed": 0}, counts
        # What its owner does from then on stays, however often the tail is looked at again.
        imap = c.imap("site-b", name)
        imap.select("INBOX")
        imap.uid("STORE", uids["flagged"], "-FLAGS", "(\\Flagged $Work)")
        imap.uid("STORE", uids["touched there"], "-FLAGS", "($Mine)")
        imap.unsubscribe("New")
        imap.logout()
        wanted["flagged"], wanted["touched there"] = ("INBOX", []), ("INBOX", ["\\Seen"])
        for row in rows:
            c.pando("salvage", "retry", row["tail"])
    wait_for("all to come home", 60, lambda: open_tails(c) == [])
    assert place_of(c, name, ("INBOX", "Archive", "Made", "New", "New/Child")) == wanted
    c.pando("mailbox", "remove", name)
    c.heal()


def rot(c, text):
    """One byte of a message in the old home's copy."""
    for path in glob.glob(os.path.join(data_of(c, NODE, "volumes"), "*", "0*.log")):
        with open(path, "rb") as file:
            at = file.read().find(text)
        if at >= 0:
            with open(path, "r+b") as file:
                file.seek(at + len(text) - 1)
                file.write(b"!")
            return
    raise AssertionError(f"{text} is nowhere")


def test_a_message_stays_while_the_copy_that_was_made_of_it_cannot_come_home(c):
    """A client without MOVE copies and expunges: the copy is all that there would be."""
    begin(c)
    home = c.home(users_of(c, 1)[0])
    name, subject = f"{c.unique('copied')}@{home['address'].split('@')[1]}", c.unique("original")
    c.pando("mailbox", "add", name, "--volume", home["volume"], "--password", PASSWORD)
    wait_for("the mailbox", 5, lambda: c.imap("site-b", name).logout())
    imap = c.imap("site-b", name)
    imap.append("INBOX", "(\\Seen)", None, make_message(subject))
    # Behind what rots: the group at which the tail begins is looked at.
    imap.append("INBOX", None, None, make_message(c.unique("behind")))
    imap.logout()
    wait_for("nothing at risk", 5, lambda: c.pando_json("at-risk") == [])

    def write():
        imap = c.imap("site-a", name)
        imap.select("INBOX")
        imap.copy("1", "Archive")
        imap.store("1", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.logout()

    before = {row["tail"] for row in tails(c)}
    cut_off(c, write)
    for daemon in c.daemons("site-a"):
        if daemon.kind != "router":
            daemon.start()
    wait_for("the tails", 40, lambda: {row["tail"] for row in tails(c)} > before)
    # By then nothing reads there any more what it is to bring home, and nobody has it mended.
    wait_for("the copy to follow", 30, c.in_step)
    rot(c, f"Subject: {subject}".encode())
    c.start("site-a")
    wait_for("a try", 60, lambda: any(row["failed"] for row in tails(c) if row["tail"] not in before))
    found = [s for folder in ("INBOX", "Archive") for s, _ in c.mailbox(name, "site-b", folder)[0].values()]
    assert subject in found, found
    c.start("site-a")
    c.wait_serving(seconds=60)
    c.let_go_of_tails(NODE)
    c.pando("mailbox", "remove", name)
    c.heal()


def test_what_a_copy_had_alone_that_was_removed_comes_home_when_its_node_has_one_again(c):
    """Its machine was dead when it was taken away, and nobody could know what it had accepted last."""
    begin(c)
    volume, name = "s1", f"{c.unique('aside')}@{DOMAIN}"
    c.pando("volume", "add", volume, "--node", NODE, "--replica", OTHER)
    c.pando("mailbox", "add", name, "--volume", volume, "--password", PASSWORD)
    wait_for("the volume", 20, lambda: c.home(name)["home"] == NODE and c.send("site-b", name))
    settled(c)
    wait_for("nothing at risk", 10, lambda: c.pando_json("at-risk") == [])
    sent = []
    cut_off(c, lambda: sent.extend(c.send("site-a", name) for _ in range(5)))
    assert not set(sent) & set(c.subjects(name, "site-b"))
    c.pando("copy", "remove", volume, NODE, "--accept-one-copy")
    c.start("site-a")
    c.pando("copy", "add", volume, NODE, "--wait")
    c.wait_serving(seconds=60)
    wait_for("what it had alone", 60, lambda: sorted(set(sent) & set(c.subjects(name, "site-b"))) == sorted(sent))
    wait_for("all to come home", 60, lambda: open_tails(c) == [])
    found = c.subjects(name, "site-a")
    assert all(found.count(subject) == 1 for subject in sent), (sent, found)
    c.pando("mailbox", "remove", name)
    c.pando("volume", "remove", volume, "--forget-removed")
    c.heal()


def test_what_was_recovered_at_both_sites_stands_once(c):
    begin(c)
    home = c.home(users_of(c, 1)[0])
    name = f"{c.unique('recovered')}@{DOMAIN}"
    c.pando("domain", "set", DOMAIN, "--keep-expunged-days", "1")
    try:
        c.pando("mailbox", "add", name, "--volume", home["volume"], "--password", PASSWORD)
        wait_for("the mailbox", 5, lambda: c.imap("site-b", name).logout())
        imap = c.imap("site-b", name)
        for subject in ("before", "within"):
            imap.append("INBOX", "(\\Seen)", None, make_message(subject))
        imap.select("INBOX")
        imap.store("1", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.logout()
        wait_for("nothing at risk", 5, lambda: c.pando_json("at-risk") == [])
        # Those of a volume that an earlier test removed may go meanwhile.
        kept = {row["tail"] for row in tails(c)}

        def write():
            imap = c.imap("site-a", name)
            imap.select("INBOX")
            imap.store("1", "+FLAGS", "(\\Deleted)")
            imap.expunge()
            imap.logout()
            c.pando("message", "recover", name, "--all")
            assert sorted(c.subjects(name, "site-a")) == ["before", "within"], c.subjects(name, "site-a")

        cut_off(c, write)
        c.pando("message", "recover", name, "--all")
        assert sorted(c.subjects(name, "site-b")) == ["before", "within"], c.subjects(name, "site-b")
        c.start("site-a")
        c.wait_serving(seconds=60)
        wait_for("the tails", 30, lambda: {row["tail"] for row in tails(c)} - kept)
        wait_for("all to come home", 60, lambda: open_tails(c) == [])
        assert sorted(c.subjects(name, "site-b")) == ["before", "within"], c.subjects(name, "site-b")
    finally:
        c.pando("domain", "set", DOMAIN, "--keep-expunged-days", "0")
    c.pando("mailbox", "remove", name)
    c.heal()


def test_whoever_dies_meanwhile_nothing_comes_twice(c):
    begin(c)
    users = users_of(c, 4)
    sent = {name: [] for name in users}
    chance = random.Random(7)

    def write():
        for _ in range(60):
            for name in users:
                sent[name].append(c.send("site-a", name))
            imap = c.imap("site-a", users[0])
            imap.append("INBOX", "(\\Seen)", None, make_message(c.unique("append")))
            imap.logout()

    cut_off(c, write)
    c.start("site-a")
    ends = time.monotonic() + 12
    while time.monotonic() < ends:
        names = [d for d in c.daemons("site-a") + c.daemons("site-b") if d.kind in ("node", "router")]
        victim = chance.choice(names)
        time.sleep(chance.uniform(0.1, 1.2))
        victim.stop(signal.SIGKILL)
        victim.start()
    c.wait_serving(seconds=60)
    wait_for("all to come home", 90, lambda: tails(c) and open_tails(c) == [])
    for name in users:
        found = c.subjects(name, "site-b")
        assert all(found.count(subject) == 1 for subject in sent[name]), (name, sent[name], found)
    found = [subject for subject in c.subjects(users[0], "site-b") if subject.startswith("append-")]
    assert len(found) == 60 and len(set(found)) == 60, found
    c.heal()


def reports(c):
    return glob.glob(os.path.join(data_of(c, NODE, "volumes"), "*", "salvage-*.report"))


def make_old(c):
    """As if open tails had been so for an hour."""
    for path in reports(c):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if "state 0\n" in text:
            with open(path + ".changed", "w", encoding="utf-8") as file:
                file.write(re.sub(r"since_s \d+", f"since_s {int(time.time()) - 3600}", text))
            os.rename(path + ".changed", path)


def waits_is_said(c):
    make_old(c)
    failed = [row for row in c.pando_json("check", check=False) if row["result"] == "FAILED"]
    return any("pando salvage list" in row["detail"] and NODE in row["what"] for row in failed)


def test_a_tail_that_cannot_come_home_is_said_and_comes_when_it_can(c):
    begin(c)
    name, full = users_of(c, 2)
    sent = {}
    for who in (name, full):
        c.send("site-b", who)
    wait_for("nothing at risk", 5, lambda: c.pando_json("at-risk") == [])

    def write():
        for who in (name, full):
            sent[who] = [c.send("site-a", who) for _ in range(3)]

    cut_off(c, write)
    # What was accepted passes over a quota that came since, and comes to who may not log in.
    c.pando("mailbox", "set", full, "--quota", "1")
    try:
        for daemon in c.daemons("site-a"):
            if daemon.kind != "router":
                daemon.start()
        wait_for("open tails", 40, lambda: any("router cannot be reached" in c.pando_json(
            "salvage", "show", row["tail"])[0]["reason"] for row in open_tails(c)))
        assert not set(sent[name]) & set(c.subjects(name, "site-b"))
        wait_for("check to say it", 40, lambda: waits_is_said(c))
        # Its disk may be the only one that has what is in them: that is at risk.
        tails = [row for row in c.pando_json("at-risk", check=False) if row["what"] == "tail"]
        assert {row["where"] for row in tails} == {NODE}, tails
        assert sorted(row["volume"] for row in tails) == sorted(row["volume"] for row in open_tails(c)), tails
        # The machine that has it is not switched off.
        said = subprocess.run([demo.PANDO, "--config", c.conf, "node", "drain", NODE, "--dry-run"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert said.returncode == 1 and f"what was cut off at {NODE} has not come home" in said.stdout, said
        # Nor is the copy let go of or thrown away through which it comes home, whoever means it.
        left = open_tails(c)[0]
        copies = len(c.lag())
        for verb in ("remove", "reseed"):
            for flag in ((), ("--accept-one-copy",)):
                done = subprocess.run([demo.PANDO, "--config", c.conf, "copy", verb, left["volume"], NODE, *flag],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                assert done.returncode == 1 and "has not come home" in done.stdout, (verb, flag, done)
                assert "pando salvage discard" in done.stdout, done
        assert len(c.lag()) == copies and not [row for row in c.lag() if row["seeding"]]
        c.start("site-a")
        c.wait_serving(seconds=60)
        for row in open_tails(c):
            subprocess.run([demo.PANDO, "--config", c.conf, "salvage", "retry", row["tail"]], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("all to come home", 60, lambda: open_tails(c) == [])
        for who in (name, full):
            found = c.subjects(who, "site-b")
            assert all(found.count(subject) == 1 for subject in sent[who]), (who, sent[who], found)
        wait_for("check to be content", 20, lambda: not waits_is_said(c))
    finally:
        c.pando("mailbox", "set", full, "--quota", "0")
        c.heal()
