"""What has rotted where nobody reads is found and mended, and named where no copy has it."""

import os
import shutil
import signal
import subprocess
import time

import demo
from runbook import Runbook
from test_6_disks import NODE, data_of
from test_6_restarts import Book, Command, flip, last_bytes
from test_7_space import append
from test_7_staged_logs import count_logged, is_read, segments_of, zero_block
from world import PASSWORD, user, wait_for

SLOW = True

OTHER = "node-b1"
MIB = 1 << 20
SIZE = 100000
# So long a pass over a log takes that is to be met in its middle, however much earlier tests have left in it.
PASS_S = 10


def scrub(c, *words):
    """Exit code and rows by node."""
    done = subprocess.run([demo.PANDO, "--config", c.conf, "scrub", *words, "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    import json
    return done.returncode, {row["node"]: row for row in json.loads(done.stdout)}


def percent(c, volume):
    """A node that has just started knows of its copies a second later."""
    return scrub(c, volume)[1].get(NODE, {"percent": 0})["percent"]


def of_node(c):
    """A mailbox at the node, its volume, and that one's number."""
    name = next(user(i) for i in range(1, 41) if c.home(user(i))["home"] == NODE)
    volume = c.home(name)["volume"]
    return name, volume, {v["volume"]: v["id"] for v in c.pando_json("volume", "list")}[volume]


def contents(c, node, number):
    """One that was made anew is as long as what it holds."""
    return b"".join(open(path, "rb").read().ljust(64 * MIB, b"\0") for path in segments_of(c, node, number)).rstrip(b"\0")


def are_equal(c, number):
    return contents(c, NODE, number) == contents(c, OTHER, number)


def find_in(path, text):
    """Where the message with this text begins in a segment; its summary has it too, behind it."""
    with open(path, "rb") as file:
        at = file.read().find(text.encode())
    assert at >= 0, text
    return at


def cuts(c):
    return count_logged(c, f"{OTHER}/replicator", "cuts")


def test_rot_that_nobody_reads_is_mended_at_both_copies(c):
    c.heal()
    book, (name, volume, number) = Book(), of_node(c)
    subjects = [c.send("site-b", name, size=SIZE) for _ in range(8)]
    wait_for("the copies to be equal", 20, lambda: are_equal(c, number))
    book.look(c, [name])
    cut = cuts(c)
    # No two at one copy follow each other: they would be mended as one.
    for node, hit in ((NODE, subjects[0:5:2]), (OTHER, subjects[1:6:2])):
        path = segments_of(c, node, number)[-1]
        flip(path, find_in(path, hit[0]) + SIZE // 2)
        zero_block(path, find_in(path, hit[1]) + SIZE // 2)
        # The header of a group begins a block, and the message follows it within that block.
        flip(path, find_in(path, hit[2]) // 4096 * 4096 + 20)
    assert not are_equal(c, number)
    said = Runbook(c, "Scrub")
    said.command("pando scrub VOLUME --now", VOLUME=volume)
    assert are_equal(c, number)
    code, rows = scrub(c, volume)
    assert code == 0 and set(rows) == {NODE, OTHER}, rows
    for node, row in rows.items():
        assert row["state"] == "idle" and row["percent"] == 100 and row["last_pass"], row
        assert row["found"] >= 3 and row["mended"] == row["found"] and row["unmended"] == 0, row
    book.look(c, [name])
    # Nor does the index of anything here disagree with its log.
    code, rows = scrub(c, "--now")
    assert code == 0 and all(count_logged(c, f"{node}/node", "index_disagrees") == 0 for node in rows), rows
    # In place: nothing was cut off and shipped again for it.
    assert cuts(c) == cut
    assert said.command("pando scrub --report").strip() == "no damage that another copy could not mend"
    text = c.http(c.node_ports("site-a", 1)["node_http"], "/metrics")
    assert f'pando_scrub_unmended_places{{volume="{volume}"}} 0' in text


def fill(c, name):
    imap = c.imap("site-a", name)
    for _ in range(72):
        append(c, imap, "Archive")
    imap.logout()


def at_speed(c, mib):
    path = c.daemon(f"{NODE}/node").config
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("scrub_mib_s_max")]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines + ([f"scrub_mib_s_max = {mib}\n"] if mib else []))
    c.daemon(f"{NODE}/node").stop(signal.SIGTERM)
    c.heal()


def lines_of(c, event, number):
    with open(c.daemon(f"{NODE}/node").log, encoding="utf-8") as file:
        return sum(f" {event} volume={number} " in line for line in file)


def test_a_deleted_segment_is_brought_back_and_a_killed_node_goes_on_with_its_pass(c):
    c.heal()
    name, volume, number = of_node(c)
    fill(c, name)
    wait_for("the copies to be equal", 30, lambda: are_equal(c, number))
    first = segments_of(c, NODE, number)[0]
    assert first.endswith("0000000000000000.log") and len(segments_of(c, NODE, number)) > 1
    os.unlink(first)
    code, rows = scrub(c, volume, "--now")
    assert code == 0 and all(row["unmended"] == 0 for row in rows.values()), rows
    assert os.path.exists(first) and are_equal(c, number)
    at_speed(c, sum(map(os.path.getsize, segments_of(c, NODE, number))) // MIB // PASS_S)
    try:
        begun, ended = lines_of(c, "scrub_begins", number), lines_of(c, "scrub_ended", number)
        path = segments_of(c, NODE, number)[-1]
        waiting = Command(c, "scrub", volume, "--now")
        wait_for("some of it to be read", 30, lambda: 10 <= percent(c, volume) < 99)
        waiting.process.send_signal(signal.SIGINT)
        said = waiting.process.communicate(timeout=10)[0]
        assert waiting.process.returncode == 1 and "it goes on being read" in said, said
        waiting = Command(c, "scrub", volume, "--now")
        time.sleep(1)
        c.daemon(f"{NODE}/node").stop(signal.SIGKILL)
        # What rots now is met by the rest of the pass: of the last segment nothing has been read.
        flip(path, last_bytes(path) - MIB // 2)
        c.daemon(f"{NODE}/node").start()
        c.wait_serving(seconds=60)
        said = waiting.process.communicate(timeout=120)[0]
        assert waiting.process.returncode == 0, said
        assert lines_of(c, "scrub_begins", number) == begun + 1
        assert lines_of(c, "scrub_ended", number) == ended + 1
        assert are_equal(c, number)
    finally:
        at_speed(c, None)


def test_rot_at_all_copies_is_named_and_cuts_nothing_and_goes_when_one_has_it_again(c):
    c.heal()
    book, (name, volume, number) = Book(), of_node(c)
    lost, kept = [c.send("site-b", name, size=SIZE) for _ in range(2)]
    wait_for("the copies to be equal", 20, lambda: are_equal(c, number))
    book.look(c, [name])
    cut = cuts(c)
    path = segments_of(c, NODE, number)[-1]
    at = find_in(path, lost) + SIZE // 2
    for node in (NODE, OTHER):
        flip(segments_of(c, node, number)[-1], at)
    code, rows = scrub(c, volume, "--now")
    assert code == 1 and {row["unmended"] for row in rows.values()} == {1}, rows
    assert cuts(c) == cut and are_equal(c, number)
    # Mail goes on to come in and to be shipped.
    c.send("site-b", name)
    wait_for("replicas in step", 20, c.in_step)
    # No copy is thrown away for one that could not be filled.
    done = subprocess.run([demo.PANDO, "--config", c.conf, "copy", "reseed", volume, OTHER, "--accept-one-copy"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 1 and "could not come past that" in done.stdout, done.stdout
    flip(path, at)
    code, rows = scrub(c, volume, "--now")
    assert code == 0 and all(row["unmended"] == 0 for row in rows.values()), rows
    assert are_equal(c, number)
    book.look(c, [name])
    assert kept in c.subjects(name)


def forget(c, volume, name):
    number = {v["volume"]: v["id"] for v in c.pando_json("volume", "list")}[volume]
    c.pando("mailbox", "remove", name)
    c.pando("volume", "remove", volume, "--forget-removed")
    shutil.rmtree(os.path.join(data_of(c, NODE, "volumes"), str(number)))


def test_what_the_only_copy_has_lost_is_named_and_everything_else_is_read(c):
    c.heal()
    volume, name = c.unique("alone"), f"{c.unique('lonely')}@{demo.DOMAIN}"
    c.pando("volume", "add", volume, "--node", NODE, "--durability", "local")
    c.pando("mailbox", "add", name, "--volume", volume, "--password", PASSWORD)
    wait_for("the volume to be served", 30, lambda: any(
        v["volume"] == volume and v["state"] == "primary" for v in c.status()["volumes"]))
    try:
        number = {v["volume"]: v["id"] for v in c.pando_json("volume", "list")}[volume]
        subjects = [c.send("site-a", name, size=SIZE) for _ in range(5)]
        imap = c.imap("site-a", name)
        imap.select("INBOX")
        uids = {subject: uid for uid, (subject, _) in c.mailbox(name)[0].items()}
        assert imap.uid("COPY", str(uids[subjects[2]]), "Archive")[0] == "OK"
        imap.uid("STORE", str(uids[subjects[0]]), "+FLAGS", "(\\Deleted)")
        imap.expunge()
        path = segments_of(c, NODE, number)[-1]
        flip(path, find_in(path, subjects[2]) + SIZE // 2)
        said = Runbook(c, "Scrub")
        said.command("pando scrub VOLUME --now", code=1, VOLUME=volume)
        code, _ = scrub(c, volume)
        assert code == 1
        report = c.pando_json("scrub", volume, "--report", check=False)
        assert {(row["mailbox"], row["folder"], row["uid"]) for row in report} == {
            (name, "INBOX", uids[subjects[2]]), (name, "Archive", 1)}, report
        assert {row["sender"] for row in report} == {"sender@example.net"}, report
        with open(c.daemon(f"{NODE}/node").log, encoding="utf-8") as file:
            assert any(" message_rotten " in line and name in line and f"uid={uids[subjects[2]]} " in line
                       for line in file)
        # All others are read, and so is what comes.
        later = c.send("site-a", name, size=SIZE)
        wait_for("the later one", 10, lambda: uid_of(c, name, later))
        for subject in (subjects[1], subjects[3], subjects[4]):
            status, data = imap.uid("FETCH", str(uids[subject]), "(BODY.PEEK[])")
            assert status == "OK" and subject.encode() in data[0][1], (status, data)
        failed = said.command("pando check", code=1)
        assert "could not be mended by another copy" in failed, failed
        imap.logout()
        # Expunged in all folders, it is nobody's any more; the place stands until its room has come back.
        flip(path, find_in(path, subjects[2]) + SIZE // 2)
        code, rows = scrub(c, volume, "--now")
        assert code == 0 and rows[NODE]["unmended"] == 0, rows
        assert is_read(Book(), c, [name])
    finally:
        forget(c, volume, name)
    c.heal()


def uid_of(c, name, subject):
    imap = c.imap("site-a", name)
    imap.select("INBOX", readonly=True)
    _, data = imap.uid("SEARCH", "SUBJECT", subject)
    imap.logout()
    return data[0]


def remember(c, number, lines):
    """What the node remembers of its copy's scrub."""
    c.daemon(f"{NODE}/node").stop(signal.SIGTERM)
    with open(os.path.join(data_of(c, NODE, "volumes"), str(number), "scrub"), "w", encoding="utf-8") as file:
        file.write("\n".join(["pando-scrub 1", *lines, ""]))
    c.heal()


def test_a_pass_in_the_background_goes_on_after_a_start_and_stands_back_under_load(c):
    c.heal()
    name, volume, number = of_node(c)
    imap = c.imap("site-a", name)
    for _ in range(20):
        append(c, imap, "Archive")
    imap.logout()
    now = int(time.time())
    remember(c, number, [f"since_s {now}", f"began_s {now}", "follows 1"])
    wait_for("it to be read", 20, lambda: percent(c, volume) > 0)
    imap, end = c.imap("site-a", name), time.monotonic() + 30
    while scrub(c, volume)[1][NODE]["state"] != "paused":
        assert time.monotonic() < end, "it is read under load"
        append(c, imap, "Archive")
    imap.logout()
    wait_for("it to be read again", 20, lambda: scrub(c, volume)[1][NODE]["state"] == "reading")
    # The operator's word begins it anew, at full speed.
    code, rows = scrub(c, volume, "--now")
    assert code == 0 and rows[NODE]["state"] == "idle" and rows[NODE]["last_pass"], rows
    # Long ago: it warns of that, and of nothing that has just begun.
    remember(c, number, [f"since_s {now - 15 * 86400}", f"last_began_s {now - 15 * 86400}", f"last_ended_s {now - 15 * 86400}"])
    wait_for("a warning", 20, lambda: [row for row in c.pando_json("check", check=False)
                                       if "have not been read for damage" in row["detail"]])
    code, _ = scrub(c, volume, "--now")
    assert code == 0 and not [row for row in c.pando_json("check", check=False) if "for damage" in row["detail"]]
