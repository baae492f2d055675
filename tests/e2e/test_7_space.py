"""Room of expunged messages comes back, on every copy, and nothing else goes."""

import glob
import os
import signal

from test_6_disks import data_of
from world import make_message, user, wait_for

SLOW = True

MIB = 1 << 20
SEGMENT = 64 * MIB
MESSAGES, SIZE = 72, MIB  # more than a segment
NODES = ("node-a1", "node-b1")


def used(c, node, volume):
    """Bytes that a copy's segments take on the disk."""
    return sum(os.stat(path).st_blocks * 512
               for path in glob.glob(os.path.join(data_of(c, node, "volumes"), str(volume), "0*.log")))


def free_soon(c, seconds, retained_mib=None):
    for node in NODES:
        path = c.daemon(f"{node}/node").config
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if not line.startswith(("free_after_s", "retained_mib_max", "stale_after_s"))]
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(lines + ([f"free_after_s = {seconds}\n"] if seconds else []) +
                            ([f"retained_mib_max = {retained_mib}\n", "stale_after_s = 5\n"] if retained_mib else []))
        c.daemon(f"{node}/node").stop(signal.SIGTERM)
    c.heal()


def segment_of(c, volume):
    return next(v["durable_lsn"] for v in c.status()["volumes"] if v["volume"] == volume) // SEGMENT


def append(c, imap, folder):
    assert imap.append(folder, None, None, make_message(c.unique("large"), SIZE))[0] == "OK"


def fill(c, name):
    """Wherever the log stands when it begins, all of it is below the last segment then."""
    imap = c.imap("site-a", name)
    for _ in range(MESSAGES):
        append(c, imap, "Archive")
    segment = segment_of(c, c.home(name)["volume"])
    for _ in range(SEGMENT // SIZE + 1):
        if segment_of(c, c.home(name)["volume"]) > segment:
            break
        append(c, imap, "Trash")
    return imap


def test_room_of_expunged_messages_comes_back_at_both_sites_and_every_other_message_stays(c):
    name = next(user(i) for i in range(1, 81) if c.home(user(i))["home"] == "node-a1")
    volume = {v["volume"]: v["id"] for v in c.pando_json("volume", "list")}[c.home(name)["volume"]]
    free_soon(c, 1)
    try:
        imap = fill(c, name)
        # One body that two folders show: it stays when one of them loses it.
        imap.select("Archive")
        assert imap.copy("3", "Drafts")[0] == "OK"
        before = {node: used(c, node, volume) for node in NODES}
        imap.store("2:60", "+FLAGS.SILENT", "\\Deleted")
        assert imap.expunge()[0] == "OK"
        imap.logout()
        kept = {folder: c.mailbox(name, "site-a", folder) for folder in ("Archive", "Drafts")}
        assert len(kept["Drafts"][0]) == 1
        wanted = 50 * MIB

        def came_back():
            return all(used(c, node, volume) < before[node] - wanted for node in NODES)
        wait_for("room at both sites", 60, came_back)
        # A replay from the log's start reads changes, not mail; both copies are still the same log.
        c.daemon("node-a1/node").stop(signal.SIGKILL)
        for path in glob.glob(os.path.join(data_of(c, "node-a1", "index"), f"{volume}.sqlite*")):
            os.remove(path)
        c.heal()
        for site in ("site-a", "site-b"):
            assert {folder: c.mailbox(name, site, folder) for folder in kept} == kept
        # The other copy serves it too, and what was freed does not come back.
        c.pando("failover", c.home(name)["volume"], "--to", "site-b")
        for site in ("site-a", "site-b"):
            assert {folder: c.mailbox(name, site, folder) for folder in kept} == kept
        assert came_back()
    finally:
        free_soon(c, None)


def test_a_copy_that_is_away_for_too_long_keeps_no_room_and_counts_again_when_it_is_in_step(c):
    name = next(user(i) for i in range(1, 81) if c.home(user(i))["home"] == "node-a1")
    volume = c.home(name)["volume"]
    number = {v["volume"]: v["id"] for v in c.pando_json("volume", "list")}[volume]
    free_soon(c, 1, retained_mib=8)
    away = [c.daemon(f"node-b1/{kind}") for kind in ("node", "replicator")]
    try:
        imap = fill(c, name)
        c.heal()
        before = used(c, "node-a1", number)
        for daemon in away:
            daemon.stop()
        imap = c.imap("site-a", name)
        imap.select("Archive")
        imap.store("1:*", "+FLAGS.SILENT", "\\Deleted")
        assert imap.expunge()[0] == "OK"
        imap.logout()

        def checked():
            return [row for row in c.pando_json("check", "--volume", volume, check=False) if row["what"] == f"volume {volume}"]
        wait_for("it to be stale", 60, lambda: any(
            row["result"] == "FAILED" and "away for longer than expunged messages wait for it (stale)" in row["detail"] and
            f"pando copy remove {volume} node-b1" in row["detail"] for row in checked()))
        wait_for("the room at the primary", 60, lambda: used(c, "node-a1", number) < before - 50 * MIB)
        [row] = [row for row in c.lag() if row["volume"] == volume]
        assert row["stale"] and not row["connected"], row
        sent = c.send("site-a", name)
        # Nobody fails over to it by itself, whatever the site is that is lost.
        primary = [c.daemon(f"node-a1/{kind}") for kind in ("node", "replicator")]
        for daemon in primary:
            daemon.stop()
        away[0].start()
        wait_for("its node", 10, lambda: any(d["name"] == "node-b1" and d["daemon"] == "node" and d["state"] == "up"
                                             for d in c.status()["daemons"]))
        refused = c.pando_json("failover", volume, "--to", "site-b", check=False)["volumes"][0]["result"]
        assert refused.startswith("node-b1 was away for too long (stale)"), refused
        for daemon in primary + away:
            daemon.start()
        c.wait_nodes()
        c.wait_serving()
        wait_for("it to be in step", 60, lambda: [not row["stale"] and row["lag_bytes"] == 0
                                                  for row in c.lag() if row["volume"] == volume] == [True])
        wait_for("the room there", 60, lambda: used(c, "node-b1", number) < before - 50 * MIB)
        c.pando("failover", volume, "--to", "site-b")
        assert sent in c.subjects(name, "site-b") and c.mailbox(name, "site-b", "Archive")[0] == {}
    finally:
        for daemon in away:
            daemon.start()
        free_soon(c, None)
