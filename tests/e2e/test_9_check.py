"""`pando check`: what is wrong is named, with a command that helps; the rest is one line."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading

import demo
from world import DOMAIN, unmount, user, wait_for


def check(c, *arguments):
    """(exit code, {what: (result, detail)}) of everything, also what is well."""
    done = subprocess.run([demo.PANDO, "--config", c.conf, "check", "--json", *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=30)
    import json
    rows = json.loads(done.stdout) if done.stdout else []
    return done.returncode, {row["what"]: (row["result"], row["detail"]) for row in rows}


def expect_failure(c, what, words):
    code, rows = check(c)
    assert code == 1 and rows[what][0] == "FAILED" and words in rows[what][1], (what, rows.get(what))


class Replaced:
    """Other files in the place of a daemon's pair; the old ones again at the end, however it ends, and in use."""

    def __init__(self, c, name, *files):
        self.c, self.name, self.files = c, name, files

    def __enter__(self):
        for name in self.files:
            shutil.move(name, name + ".kept")

    def __exit__(self, *_):
        for name in self.files:
            if os.path.exists(name):
                os.remove(name)
            shutil.move(name + ".kept", name)
        restart(self.c, self.name)


def restart(c, name):
    daemon = c.daemon(name)
    daemon.stop()
    daemon.start()


def self_signed(pem, key, name, days):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    key, "-out", pem, "-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"],
                   check=True, stderr=subprocess.PIPE)


def follow_advice(c):
    """Tails that nothing can bring home, and folders of copies, that earlier tests left."""
    c.let_go_of_tails()
    for row in c.pando_json("check", check=False):
        kept = re.search(r" in (/\S+): delete the folder there", row["detail"])
        if kept:
            shutil.rmtree(kept.group(1))


def test_check_prints_one_line_when_all_is_well_and_everything_with_all(c):
    follow_advice(c)
    code, output, _ = pando(c, "check")
    assert code == 0 and re.fullmatch(r"\d+ checks found nothing wrong: `pando check --all` shows them\n", output), output
    code, rows = check(c)
    for what in ("directory", "node node-a1 cluster certificate", "node node-a1 authority", "router router-b public certificate",
                 "replicator node-b1 cluster certificate", "node node-b2 disk (volumes)", "router router-a disk (queue)",
                 "volume a1-1"):
        assert code == 0 and rows[what][0] == "ok", (what, rows.get(what))


def pando(c, *arguments):
    done = subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def test_filters_leave_out_the_rest(c):
    code, rows = check(c, "--node", "node-a1")
    assert code == 0 and "node node-a1" in rows and "volume a1-1" in rows and "directory" not in rows
    assert not [what for what in rows if "node-b" in what or "router" in what or "a2-1" in what], rows
    code, rows = check(c, "--site", "site-b")
    assert "router router-b" in rows and "volume a2-1" in rows and "router router-a" not in rows
    code, rows = check(c, "--volume", "a2-3")
    assert [what for what in rows if what.startswith("volume")] == ["volume a2-3"], rows
    assert "node node-a2" in rows and "node node-b2" in rows and "node node-a1" not in rows
    assert {row["volume"] for row in c.pando_json("lag", "--node", "node-b1")} == {"a1-1", "a1-2", "a1-3", "a1-4"}
    status = c.pando_json("status", "--volume", "a1-2")
    assert [row["volume"] for row in status["volumes"]] == ["a1-2"]
    assert sorted({row["name"] for row in status["daemons"]}) == ["node-a1", "node-b1"]
    for verb in ("check", "status", "lag", "at-risk"):
        for option, word in (("--site", "site"), ("--node", "node"), ("--volume", "volume")):
            code, _, errors = pando(c, verb, option, "nowhere")
            assert code == 1 and f"there is no {word} `nowhere`: see `pando {word} list`" in errors, (verb, errors)


def test_the_certificate_that_is_in_use_is_judged_and_not_the_file(c):
    pem, key = (f"{c.tls}/router-a-public.{end}" for end in ("pem", "key"))
    host = f"router-a.site-a.{DOMAIN}"
    what = "router router-a public certificate"
    with Replaced(c, "router-a/router", pem, key):
        self_signed(pem, key, host, 5)
        expect_failure(c, what, "restart pando-router")
        restart(c, "router-a/router")
        wait_for("the router", 10, lambda: check(c)[1]["router router-a"][0] == "ok")
        # Whole days that are left: four, but for the second in which it was made.
        wait_for("the fifth day to begin", 2, lambda: "ends in 4 days" in check(c)[1][what][1])
        expect_failure(c, what, "ends in 4 days")
        self_signed(pem, key, "elsewhere.example", 90)
        restart(c, "router-a/router")
        wait_for("the router", 10, lambda: check(c)[1]["router router-a"][0] == "ok")
        expect_failure(c, what, f"is for `elsewhere.example` and not for `{host}`")
    c.heal()
    assert check(c)[1][what][0] == "ok"


def test_a_cluster_certificate_of_another_name_or_that_has_expired_is_named(c):
    pem, key = (f"{c.tls}/node-b2-replicator.{end}" for end in ("pem", "key"))
    with Replaced(c, "node-b2/replicator", pem, key):
        c.pando("cert", "issue", "--role", "replicator", "--name", "other", "--certificate", pem, "--key", key, "--authority",
                f"{c.folder}/authority.pem", "--authority-key", f"{c.folder}/authority.key")
        restart(c, "node-b2/replicator")
        wait_for("the replicator", 10, lambda: check(c)[1]["replicator node-b2"][0] == "ok")
        expect_failure(c, "replicator node-b2 cluster certificate", "`pando cert issue --role replicator --name node-b2`")
    with Replaced(c, "node-b2/replicator", pem, key), tempfile.TemporaryDirectory() as folder:
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        key, "-out", f"{folder}/request", "-subj", "/CN=node-b2/OU=replicator"], check=True,
                       stderr=subprocess.PIPE)
        subprocess.run(["openssl", "x509", "-req", "-in", f"{folder}/request", "-CA", f"{c.folder}/authority.pem", "-CAkey",
                        f"{c.folder}/authority.key", "-days", "-1", "-out", pem], check=True, stderr=subprocess.PIPE)
        restart(c, "node-b2/replicator")
        wait_for("the refusal", 10, lambda: "certificate has expired" in check(c)[1]["replicator node-b2"][1])
        code, rows = check(c)
        assert code == 1 and rows["volume a2-1"][0] == "FAILED", rows["volume a2-1"]
    c.heal()


def test_a_disk_that_is_nearly_full_is_named_with_its_volumes(c):
    if os.getuid() != 0:
        return
    daemon = c.daemon("node-b2/node")
    index = os.path.join(daemon.machine, "data", "index")
    daemon.stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", index], check=True)
    try:
        daemon.start()
        wait_for("the node", 20, lambda: check(c)[1]["node node-b2"][0] == "ok")
        expect_failure(c, "node node-b2 disk (index)", "on it are the volumes a2-")
        said = check(c)[1]["node node-b2 disk (index)"][1]
        assert all(f"a2-{number}" in said for number in range(1, 5)), said
        assert re.search(r"has \d+ MiB of 64 MiB free \(\d+ %\)", check(c)[1]["node node-b2 disk (index)"][1])
    finally:
        daemon.stop()
        unmount(index)
        daemon.start()
        c.heal()


def test_a_replica_that_is_connected_and_does_not_move_is_told(c):
    """Between the end of a sender's patience with it and the end of the line's."""
    name = next(name for name in map(user, range(1, 41)) if c.home(name)["volume"] == "a1-1")
    replicator = c.daemon("node-b1/replicator")
    replicator.send(signal.SIGSTOP)
    try:
        sender = threading.Thread(target=lambda: c.send("site-a", name))
        sender.start()
        wait_for("the stall", 10, lambda: any(
            row["volume"] == "a1-1" and row["stalled"] for row in c.pando_json("lag", "--volume", "a1-1")))
        code, output, errors = pando(c, "at-risk", "--volume", "a1-1")
        assert "volume a1-1 has no copy at another site that follows" in errors, errors
        code, rows = check(c, "--volume", "a1-1")
        assert code == 1 and re.search("does not move|not connected", rows["volume a1-1"][1]), rows
        sender.join()
        rows = c.pando_json("at-risk", "--volume", "a1-1", check=False)
        assert [row["volume"] for row in rows if row["what"] == "message"] == ["a1-1"], rows
    finally:
        replicator.send(signal.SIGCONT)
        c.heal()


def test_status_names_every_copy_that_should_be_there(c):
    """Also at once behind a failover, when who serves has not heard of the machine that is gone."""
    for kind in ("node", "replicator"):
        c.daemon(f"node-a1/{kind}").send(signal.SIGKILL)
    try:
        c.pando("failover", "a1-1", "--to", "site-b")
        for _ in range(10):
            row = next(row for row in c.status()["volumes"] if row["volume"] == "a1-1")
            assert row["state"] == "primary" and row["copies"].startswith("node-a1 not "), row
    finally:
        for kind in ("replicator", "node"):
            restart(c, f"node-a1/{kind}")
        c.heal()
        c.pando("failback", "site-a")
