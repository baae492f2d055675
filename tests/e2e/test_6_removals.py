"""Volumes, nodes, routers, sites and domains that come and go while the others serve."""

import signal

import demo
import world
from runbook import Runbook
from test_6_copies import refusal, settled
from world import wait_for


def test_places_are_removed_when_nothing_stands_on_them(c):
    c.heal()
    book = Runbook(c, "Changing and removing places")
    c.pando("volume", "add", "w1", "--node", "node-a2", "--replica", "node-b2")
    c.pando("domain", "add", "leaves.example")
    c.pando("mailbox", "add", "anna@leaves.example", "--volume", "w1", "--password", world.PASSWORD)
    wait_for("the new volume", 20, lambda: "w1" in [
        v["volume"] for v in c.status()["volumes"] if v["state"] == "primary"])
    settled(c)
    subject = c.send("site-b", "anna@leaves.example")
    book.command("pando volume rename w1 w2")
    book.command("pando volume set w2 --durability strict")
    row = [v for v in c.pando_json("volume", "list") if v["volume"] == "w2"][0]
    assert row["durability"] == "strict", row
    # No restart, and nobody in a session notices.
    c.wait_mail("anna@leaves.example", subject, "site-b")
    c.send("site-a", "anna@leaves.example")
    # Each refusal names what stands on it.
    for arguments, words in ((("volume", "remove", "w2"), "anna@leaves.example"),
                             (("domain", "remove", "leaves.example"), "anna@leaves.example"),
                             (("node", "remove", "node-a2"), "pando copy remove VOLUME NODE"),
                             (("site", "remove", "site-a"), "node-a1"),
                             (("node", "set", "node-a2", "--lmtp", "127.0.0.1:99999"), "127.0.0.1:99999")):
        said = refusal(c, *arguments)
        assert words in said, (arguments, said)
    c.pando("mailbox", "remove", "anna@leaves.example")
    assert "pando mailbox list --removed" in refusal(c, "volume", "remove", "w2")
    book.command("pando volume remove w2 --forget-removed")
    wait_for("its nodes to let it go", 10, lambda: not [
        v for node in ("node-a2", "node-b2") for v in control(c, node) if v["name"] in ("w1", "w2")])
    kept = [row for row in c.pando_json("check", check=False) if "(removed)" in row["detail"]]
    assert sorted(row["what"] for row in kept) == ["node node-a2", "node node-b2"], kept
    book.command("pando domain remove leaves.example")
    assert refusal(c, "domain", "remove", "leaves.example")
    # Nothing of it comes back with a process that starts anew.
    for name in ("node-a2/node", "node-a2/replicator"):
        c.daemon(name).stop(signal.SIGKILL)
        c.daemon(name).start()
    c.heal()
    assert not [v for v in control(c, "node-a2") if v["name"] in ("w1", "w2")]


def control(c, node):
    """The volumes of which a node says that it has a copy, by its metrics."""
    ports = c.node_ports("site-" + node[-2], int(node[-1]))
    text = c.http(ports["node_http"], "/metrics")
    found = []
    for line in text.splitlines():
        if line.startswith("pando_volume_epoch{") and 'volume="w' in line and float(line.split()[-1]) > 0:
            found.append({"name": line.split('volume="')[1].split('"')[0]})
    return found


def test_a_router_goes_when_its_queue_is_empty(c):
    c.heal()
    book = Runbook(c, "Changing and removing places")
    book.says("pando router remove NAME", "--accept-silent")
    # A router that nobody runs.
    c.pando("site", "add", "site-z")
    c.pando("router", "add", "router-z", "--site", "site-z", "--control", "127.0.0.1:9")
    assert "does not answer" in refusal(c, "router", "remove", "router-z")
    assert "router-z" in refusal(c, "site", "remove", "site-z")
    c.pando("router", "remove", "router-z", "--accept-silent")
    c.pando("site", "remove", "site-z")
    c.pando("node", "add", "node-z1", "--site", "site-a", "--lmtp", "127.0.0.1:5", "--imap", "127.0.0.1:6",
            "--control", "127.0.0.1:7", "--replicator", "127.0.0.1:8")
    c.pando("node", "set", "node-z1", "--lmtp", "127.0.0.1:15")
    assert [n for n in c.pando_json("node", "list") if n["node"] == "node-z1"][0]["lmtp"] == "127.0.0.1:15"
    c.pando("node", "remove", "node-z1")
    c.wait_nodes()
    assert demo.DOMAIN in [d["domain"] for d in c.pando_json("domain", "list")]
