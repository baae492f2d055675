"""The directory away, a peer with the wrong certificate, a wrong configuration, one site's link cut."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import demo
from world import DOMAIN, PASSWORD, user, wait_for


def test_postgres_away_changes_nothing_and_daemons_restart(c):
    c.send("site-b", user(71))
    c.postgres_stop("immediate")
    try:
        subject = c.send("site-b", user(71))
        assert subject in c.subjects(user(71), "site-a")
        for daemon in c.daemons():
            daemon.stop()
        c.start()
        wait_for("delivery after a restart without PostgreSQL", 20,
                 lambda: c.raw().greeting[0] == 220 and c.send("site-a", user(71)))
        wait_for("the other door", 20, lambda: c.send("site-b", user(72)))
        again = c.send("site-b", user(71))
        for site in c.sites:
            assert subject in c.subjects(user(71), site)
            # The home may still have been starting: then the router's queue has it.
            c.wait_mail(user(71), again, site)
        raw = c.raw()
        raw.command("MAIL FROM:<a@example.net>")
        assert raw.command(f"RCPT TO:<nobody@{DOMAIN}>")[0] == 550
        raw.close()
        done = subprocess.run([demo.PANDO, "--config", c.conf, "mailbox", "list"], stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "PostgreSQL" in done.stderr, done.stderr
        assert all(v["state"] == "primary" for v in c.status()["volumes"])
    finally:
        c.postgres_running()
    name = f"new{os.getpid()}@{DOMAIN}"
    c.pando("mailbox", "add", name, "--password", PASSWORD)
    wait_for("a mailbox made after PostgreSQL came back", 10, lambda: c.send("site-b", name))
    c.heal()
    wait_for("every router's directory", 5, lambda: c.send("site-a", name))


def test_what_was_moved_last_is_known_while_the_directory_is_away(c):
    """By this command, and by one on another machine, whose places are not these."""
    other = os.path.join(c.folder, "elsewhere")
    os.makedirs(other, exist_ok=True)
    conf = os.path.join(other, "pando.conf")
    with open(c.conf, encoding="utf-8") as file, open(conf, "w", encoding="utf-8") as copy:
        os.fchmod(copy.fileno(), 0o600)
        copy.writelines(f"data_dir = {other}\n" if line.startswith("data_dir") else line for line in file)
    c.pando("failover", "a1-1", "--to", "site-b")
    demo.run(demo.PANDO, "--config", conf, "failover", "a1-2", "--to", "site-b")
    c.postgres_stop("immediate")
    try:
        rows = {v["volume"]: v for v in c.status()["volumes"]}
        for volume in ("a1-1", "a1-2"):
            assert (rows[volume]["primary"], rows[volume]["state"]) == ("node-b1", "primary"), rows[volume]
            assert rows[volume]["copies"].startswith("node-a1 "), rows[volume]
        done = subprocess.run([demo.PANDO, "--config", c.conf, "at-risk"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=30)
        assert done.stdout == "nothing is at risk: every accepted message is on a second site\n", (done.stdout, done.stderr)
        assert "going on with the places that were known before, of 20" in done.stderr, done.stderr
        plan = c.pando_json("failover", "site-b", "--to", "site-a", "--dry-run", check=False)["volumes"]
        assert {"a1-1", "a1-2"} <= {v["volume"] for v in plan if v["to"] == "node-a1"}, plan
    finally:
        c.heal()
        c.pando("failback", "site-a")


def test_a_dry_run_without_the_directory_says_what_would_move_and_what_is_missing(c):
    planned = c.pando_json("failover", "site-a", "--to", "site-b", "--dry-run")["volumes"]
    c.postgres_stop("immediate")
    try:
        def run(*arguments):
            done = subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=30)
            return done.returncode, done.stdout, done.stderr
        code, output, errors = run("failover", "site-a", "--to", "site-b", "--dry-run", "--json")
        plan = json.loads(output)
        assert code == 1 and [(v["volume"], v["to"], v["result"]) for v in plan["volumes"]] == [
            (v["volume"], v["to"], v["result"]) for v in planned], plan
        assert plan["preflight"][0]["item"] == "directory" and "A site is lost" in errors.splitlines()[-1], errors
        assert "\n## A site is lost\n" in open(os.path.join(demo.TOP, "docs", "operating.md")).read()
        code, output, errors = run("failover", "site-a", "--to", "site-b")
        assert code == 1 and not output and "promote the standby (docs/operating.md, A site is lost)" in errors, errors
        code, _, errors = run("failback", "site-a", "--dry-run")
        assert code == 1 and "stands in the directory alone" in errors and errors.count("A site is lost") == 1, errors
        assert run("failover", "nowhere", "--dry-run")[0] == 1
        assert all(v["state"] == "primary" for v in c.status()["volumes"])
    finally:
        c.heal()


def test_directory_unit_tests_hold_on_postgres_too(c):
    url = re.search(r"^directory = (.*)$", open(c.conf).read(), re.M).group(1)
    subprocess.run([f"{demo.POSTGRES_BIN}/psql", "-q", url, "-c", "drop database if exists unittest", "-c",
                    "create database unittest"], check=True, stderr=subprocess.DEVNULL)
    for program in ("core_directory_test", "core_directory_undo_test", "core_directory_copies_test"):
        done = subprocess.run([os.path.join(demo.BUILD, "tests", "unit", program)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                              env={**os.environ, "PANDO_TEST_POSTGRES": re.sub(r"/pando$", "/unittest", url)})
        assert done.returncode == 0, done.stdout[-2000:]
        # A daemon's side has read it there; copies are the operator's alone.
        assert "directory_connected" in done.stdout or program == "core_directory_copies_test", done.stdout[-2000:]


def test_new_mailbox_is_known_within_a_moment_and_removed_again(c):
    name = f"quick{os.getpid()}@{DOMAIN}"
    c.pando("mailbox", "add", name, "--password", PASSWORD)
    subject = wait_for("the new mailbox", 1, lambda: c.send("site-b", name))
    # Its home may hear of it a moment after the router that took the message.
    c.wait_mail(name, subject)
    c.pando("mailbox", "passwd", name, "--password", "other")
    wait_for("the new password", 6, lambda: login(c, name, "other"))
    c.pando("mailbox", "remove", name)
    wait_for("its end", 1, lambda: refused(c, name))


def login(c, name, password):
    imap = c.imap(login=False)
    imap.login(name, password)
    imap.logout()
    return True


def refused(c, name):
    raw = c.raw("site-b")
    raw.command("MAIL FROM:<a@example.net>")
    code, _ = raw.command(f"RCPT TO:<{name}>")
    raw.close()
    return code == 550


def knock(port, certificate):
    """What a port inside the cluster says to this certificate until it hangs up; None when it does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate + ".pem", certificate + ".key")
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as tls:
            tls.settimeout(1)
            tls.sendall(b"LHLO x\r\n" + b"?" * 100 + b"\r\n")
            said = b""
            try:
                while data := tls.recv(200):
                    said += data
            except TimeoutError:
                return None
            return said
    except (ssl.SSLError, ConnectionError):
        return b""


def test_peers_with_a_wrong_certificate_or_role_are_refused_and_logged(c):
    ports = c.node_ports("site-a", 1)
    log = os.path.join(c.folder, "site-a", "node-a1", "node.log")
    with tempfile.TemporaryDirectory() as folder:
        demo.run(demo.PANDO, "cert", "self-signed", "evil", "--certificate", f"{folder}/evil.pem", "--key",
                 f"{folder}/evil.key")
        before = os.path.getsize(log)
        for service in ("lmtp", "imap", "control", "replicator"):
            # None, one of a stranger, and one of this cluster for another role.
            assert knock(ports[service], None) == b"", service
            assert knock(ports[service], f"{folder}/evil") == b"", service
            said = knock(ports[service], f"{c.tls}/node-b1-node")
            assert said is not None and not said.startswith((b"2", b"* OK", b"{")), (service, said)
        wait_for("lines in the node's log", 3, lambda: os.path.getsize(log) > before)
        assert knock(ports["lmtp"], f"{c.tls}/router-a-router") is None


def test_daemon_does_not_start_with_an_argument_that_it_does_not_understand(c):
    for program in demo.PROGRAMS.values():
        for wrong in ("--confg", "--config"):
            done = subprocess.run([program, "--config", "/nonexistent", wrong], stderr=subprocess.PIPE, text=True)
            assert done.returncode == 2 and f"the argument {wrong} is not understood" in done.stderr, done
        done = subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0 and done.stdout.startswith("usage: "), done


def test_wrong_configuration_ends_with_2_and_names_line_and_key(c):
    machine = os.path.join(c.folder, "site-a", "node-a1", "pando.conf")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pando.conf")
        text = open(machine).read()
        with open(path, "w") as file:
            file.write(text + "smpt_listen = 127.0.0.1:9\n")
        line = text.count("\n") + 1
        for program in [*demo.PROGRAMS.values(), demo.PANDO]:
            command = [program, "--config", path] + (["status"] if program == demo.PANDO else [])
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
            assert done.returncode == 2, (program, done.returncode, done.stdout)
            assert f"line {line}" in done.stdout and "smpt_listen" in done.stdout and "smtp_listen" in done.stdout


def test_postgres_unreachable_at_init_is_a_clear_sentence(c):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([demo.PANDO, "--config", f"{folder}/pando.conf", "init", "--postgres",
                               "postgresql://pando@127.0.0.1:9/pando"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "cannot be reached" in done.stderr, done.stderr


def stop_replicators(c, site):
    for daemon in c.daemons(site):
        if daemon.kind == "replicator":
            daemon.stop()


def test_durability_policies_without_a_replica(c):
    volume = c.home(user(73))["volume"]
    for policy in ("remote", "strict", "local"):
        c.pando("mailbox", "add", f"{policy}{os.getpid()}@{DOMAIN}", "--volume", volume, "--durability", policy,
                "--password", PASSWORD)
    names = {policy: f"{policy}{os.getpid()}@{DOMAIN}" for policy in ("remote", "strict", "local")}
    for name in names.values():
        wait_for(name, 3, lambda name=name: c.send("site-a", name))
    # What waits for no site is shipped a moment after its answer.
    wait_for("nothing at risk", 5, lambda: c.pando_json("at-risk") == [])
    stop_replicators(c, "site-b")
    try:
        subject = c.send("site-a", names["remote"])
        assert subject in c.subjects(names["remote"])
        listed = c.pando_json("at-risk", check=False)
        assert any(row["mailbox"] == names["remote"] for row in listed), listed
        c.send("site-a", names["local"])
        # Asked for the place of the copy, which its primary elsewhere has to say.
        for words in ((), ("--site", "site-b"), ("--volume", volume)):
            listed = [row for row in c.pando_json("at-risk", *words, check=False) if row["mailbox"] == names["local"]]
            assert [(row["what"], row["count"]) for row in listed] == [("message", 1)], (words, listed)
        raw = c.raw()
        raw.command("MAIL FROM:<a@example.net>")
        raw.command(f"RCPT TO:<{names['strict']}>")
        raw.command("DATA")
        code, text = raw.command("Subject: strict\r\n\r\nx\r\n.")
        raw.close()
        assert code == 451, text
    finally:
        c.heal()
    wait_for("nothing at risk once it is shipped", 5, lambda: c.pando_json("at-risk") == [])
    assert c.subjects(names["strict"], "site-b").count("strict") <= 1


def test_home_away_the_router_queues_and_delivers_later(c):
    node = c.daemon(f"{c.home(user(74))['home']}/node")
    node.stop(signal.SIGKILL)
    try:
        subject = c.send("site-b", user(74))
        queued = c.pando_json("queue", "list", check=False)
        assert queued, "the message waits nowhere"
    finally:
        node.start()
    c.wait_mail(user(74), subject, seconds=20)
    wait_for("an empty queue", 10, lambda: c.pando_json("queue", "list") == [])
    assert c.subjects(user(74), "site-b").count(subject) == 1
    c.heal()


def test_queued_message_survives_the_router_that_accepted_it(c):
    node, router = c.daemon(f"{c.home(user(78))['home']}/node"), c.daemon("router-b/router")
    node.stop(signal.SIGKILL)
    try:
        subject = c.send("site-b", user(78))
        # Two routers hold it, so nothing is at risk.
        assert len(c.pando_json("queue", "list", check=False)) == 2
        assert c.pando_json("at-risk", check=False) == []
        router.stop(signal.SIGKILL)
        node.start()
        c.wait_mail(user(78), subject, "site-a", seconds=40)
    finally:
        c.heal()
    wait_for("an empty queue", 20, lambda: c.pando_json("queue", "list") == [])
    assert c.subjects(user(78)).count(subject) == 1


def test_queue_can_be_shown_flushed_and_dropped(c):
    node = c.daemon(f"{c.home(user(79))['home']}/node")
    node.stop(signal.SIGKILL)
    try:
        c.send("site-b", user(79))
        row = c.pando_json("queue", "list", check=False)[0]
        assert c.pando_json("queue", "show", row["id"], check=False)[0]["recipient"] == user(79), row
        c.pando("queue", "drop", row["id"])
        wait_for("its end", 10, lambda: c.pando_json("queue", "list", check=False) == [])
        subject = c.send("site-b", user(79))
        row = c.pando_json("queue", "list", check=False)[0]
        c.pando("queue", "flush", row["id"])
    finally:
        c.heal()
    c.pando("queue", "flush")
    c.wait_mail(user(79), subject)
    assert len(c.subjects(user(79))) == 1


def test_queue_id_that_nobody_knows_is_refused_in_one_sentence(c):
    for verb in ("show", "flush", "drop"):
        for id, shown in (("0" * 32, "0" * 32), ("a\x1b[31m", "a\\x1b[31m")):
            done = subprocess.run([demo.PANDO, "--config", c.conf, "queue", verb, id], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert done.returncode == 1 and done.stdout == "", done
            assert done.stderr == (f"pando: no router that answers has a message `{shown}`: "
                                   "see `pando queue list`\n"), done


def test_index_deleted_and_rebuilt_equal(c):
    imap = c.imap(to=user(75))
    for i in range(10):
        c.send("site-a", user(75), size=i * 500)
    imap.select("INBOX")
    imap.store("1:4", "+FLAGS", "(\\Seen custom)")
    imap.store("5", "+FLAGS", "\\Deleted")
    imap.expunge()
    imap.create("Kept")
    imap.copy("2:3", "Kept")
    imap.logout()
    before = [dump(c, user(75), folder) for folder in ("INBOX", "Kept")]
    node = c.daemon(f"{c.home(user(75))['home']}/node")
    node.stop()
    removed = 0
    for folder, _, names in os.walk(os.path.join(node.machine, "data")):
        for name in names:
            if os.path.basename(folder) == "index":
                os.remove(os.path.join(folder, name))
                removed += 1
    assert removed, "no index file found"
    node.start()
    wait_for("the node", 20, lambda: c.subjects(user(75)))
    assert [dump(c, user(75), folder) for folder in ("INBOX", "Kept")] == before
    c.heal()


def dump(c, name, folder):
    imap = c.imap(to=name)
    imap.select(folder, readonly=True)
    validity = imap.response("UIDVALIDITY")[1][0], imap.response("UIDNEXT")[1][0]
    _, data = imap.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE MODSEQ)")
    imap.logout()
    # Which session saw a message as recent is no property of the mailbox.
    return validity, sorted(re.sub(r" ?\\+Recent", "", str(item)).replace("( ", "(") for item in data)


def test_check_and_status_say_what_is_wrong(c):
    rows = {row["what"]: row["result"] for row in c.pando_json("check")}
    assert "FAILED" not in rows.values(), rows
    node = c.daemon("node-b1/node")
    node.stop(signal.SIGKILL)
    rows = {row["what"]: row["result"] for row in c.pando_json("check", check=False)}
    assert rows["node node-b1"] == "FAILED", rows
    c.heal()


def test_slow_reader_and_idle_sessions_do_not_hold_others_up(c):
    idle = [socket.create_connection(("127.0.0.1", c.port("site-a", "imap")), 10) for _ in range(200)]
    start = time.monotonic()
    c.send("site-a", user(76))
    assert time.monotonic() - start < 2
    for s in idle:
        s.close()
