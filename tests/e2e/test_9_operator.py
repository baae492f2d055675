"""`pando` for people and scripts, and what is installed: usage, refusals, JSON, `pando init`."""

import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import demo
from world import OFFSET


def pando(conf, *arguments, text=None):
    done = subprocess.run([demo.PANDO, "--config", conf, *arguments], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=30,
                          stdin=subprocess.DEVNULL if text is None else None)
    return done.returncode, done.stdout, done.stderr


def expect(conf, code, words, *arguments, text=None):
    got, output, errors = pando(conf, *arguments, text=text)
    assert got == code and words in errors, (arguments, got, output[-300:], errors)


def verbs():
    """[(words, the whole usage)] of every verb."""
    rows = re.findall(r"^  ([a-z].*)$", pando("/nonexistent", "--help")[1], re.M)
    return [(re.match(r"[a-z-]+( [a-z-]+)?", row).group().split(), row) for row in rows]


def test_every_verb_has_help_and_refuses_what_it_does_not_know(c):
    assert len(verbs()) > 30
    for words, _ in verbs():
        code, output, _ = pando("/nonexistent", *words, "--help")
        assert code == 0 and output.count("\n  " + " ".join(words)) == 1 and output.count("\n") < 12, (words, output)
        expect(c.conf, 2, "there is no option --bogus here", *words, "--bogus")
        expect(c.conf, 2, "usage: pando " + " ".join(words), *words, *["x"] * 17)
    code, output, _ = pando("/nonexistent", "mailbox", "--help")
    assert code == 0 and "\n  mailbox passwd" in output and "\n  volume" not in output


def members(value):
    """(name, value) of every member of every object."""
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            yield from members(item)
    if isinstance(value, dict):
        yield from value.items()


def test_json_of_every_listing_is_json_with_numbers_and_booleans(c):
    arguments = {"volume show": ["a1-1"], "mailbox show": ["u0001@example.org"], "queue show": ["00"],
                 "failover": ["site-a", "--dry-run"], "failback": ["site-a"]}
    for words, usage in verbs():
        if "--json" in usage:
            code, output, errors = pando(c.conf, *words, *arguments.get(" ".join(words), []), "--json")
            for name, value in members(json.loads(output)):
                assert value not in ("yes", "no", "true", "false"), (words, name, value)
                # 64 bits, more than a number of JSON holds everywhere.
                assert name == "system_identifier" or not re.fullmatch(r"[0-9]+", str(value)) or \
                    not isinstance(value, str), (words, name, value)
            assert code == (1 if words == ["queue", "show"] else 0), (words, code, errors)


def test_wrong_usage_ends_with_2(c):
    for words, *arguments in (
            ("an argument is missing", "site", "add"),
            ("--lmtp is missing", "node", "add", "x", "--site", "site-a"),
            ("--node is missing", "volume", "add", "x"),
            ("--volume needs a value", "mailbox", "add", "x@example.org", "--volume"),
            ("--json takes no value", "status", "--json=1"),
            ("--site is given twice", "router", "add", "x", "--site", "site-a", "--site", "site-b"),
            ("in more than one way", "mailbox", "add", "x@example.org", "--no-password", "--password", "x"),
            ("wants a number of bytes", "mailbox", "add", "x@example.org", "--quota", "-1", "--no-password"),
            ("is no queue id", "queue", "drop", ""),
            ("there is no verb `site frob`", "site", "frob"),
            ("there is no verb `frob`", "frob")):
        expect(c.conf, 2, words, *arguments)


def test_refusals_end_with_1_and_say_why(c):
    places = ["--imap", "127.0.0.1:2", "--control", "127.0.0.1:3", "--replicator", "127.0.0.1:4"]
    for words, *arguments in (
            ("cannot name a site", "site", "add", "Site A"),
            ("cannot name a site", "site", "add", "a\nb"),
            ("exists already", "site", "add", "site-a"),
            ("in numbers", "node", "add", "x", "--site", "site-a", "--lmtp", "mail.example.org:24", *places),
            ("in numbers", "node", "add", "x", "--site", "site-a", "--lmtp", "0.0.0.0:24", *places),
            ("see `pando site list`", "node", "add", "x", "--site", "nowhere", "--lmtp", "127.0.0.1:1", *places),
            ("named twice", "volume", "add", "x", "--node", "node-a1", "--replica", "node-a1"),
            ("needs a replica", "volume", "add", "x", "--node", "node-a1", "--durability", "strict"),
            ("cannot name a volume", "volume", "show", "%"),
            ("is no domain name", "domain", "add", "x..y"),
            ("run `pando domain add elsewhere.example` first", "mailbox", "add", "a@elsewhere.example", "--no-password"),
            ("exists already", "mailbox", "add", "U0001@EXAMPLE.org", "--no-password"),
            ("is no address", "mailbox", "add", "a%b@example.org", "--no-password"),
            ("is no address", "mailbox", "add", "a\nb@example.org", "--no-password"),
            ("there is no mailbox", "mailbox", "show", "u000*"),
            ("the password is empty", "mailbox", "passwd", "u0001@example.org", "--password", ""),
            ("control characters", "mailbox", "passwd", "u0001@example.org", "--password", "a\tb"),
            ("is a mailbox", "alias", "add", "u0001@example.org", "u0002@example.org"),
            ("neither a mailbox nor an alias", "alias", "add", "x@example.org", "y@example.org"),
            ("see `pando queue list`", "queue", "drop", "00"),
            ("neither a site nor a node nor a volume", "failover", "nowhere"),
            ("leave from", "failover", "site-a", "--to", "site-a")):
        expect(c.conf, 1, words, *arguments)
    expect(c.conf, 1, "line 2: `bad` is no address", "mailbox", "import", "-", text="new@example.org\nbad\n")
    expect(c.conf, 1, "the prepared key is malformed", "mailbox", "import", "-",
           text="new@example.org\tSCRAM-SHA-256$4096:x\n")
    expect(c.conf, 1, "cannot be read", "mailbox", "import", "/tmp")
    expect(c.conf, 1, "there is no mailbox", "mailbox", "show", "new@example.org")


def test_aliases_do_not_go_round(c):
    one, two = (c.unique("alias") + "@example.org" for _ in range(2))
    c.pando("alias", "add", one, "u0001@example.org", "u0002@example.org")
    c.pando("alias", "add", two, one)
    expect(c.conf, 1, "would go round", "alias", "add", one, two)
    expect(c.conf, 1, "would go round", "alias", "add", one, one.upper())
    expect(c.conf, 1, "leads to `u0001@example.org` already", "alias", "add", one, "u0001@example.org")
    expect(c.conf, 1, "is an alias", "mailbox", "add", one, "--no-password")
    c.pando("alias", "remove", one)
    c.pando("alias", "remove", two)


def test_passwords_may_hold_spaces_and_any_script(c):
    name = c.unique("words") + "@example.org"
    c.pando("mailbox", "add", name, "--no-password")
    for password in (" two  words ", "Gr\u00fc\u00dfe \u68ee", "x" * 1024):
        assert pando(c.conf, "mailbox", "passwd", name, "--password-stdin", text=password + "\n")[0] == 0

        def login():
            with c.smtp(service="submission") as smtp:
                smtp.starttls()
                smtp.ehlo()
                return smtp.docmd("AUTH", "PLAIN " + smtp_plain(name, password))[0] == 235
        demo.wait_for("the new password", 5, login)


def smtp_plain(name, password):
    import base64
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


def test_a_postgres_host_that_is_silent_is_passed_over(c):
    """As one that has burnt down with its site: packets to it get no answer at all."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        port = silent.getsockname()[1]
        text = open(c.conf).read()
        conf = os.path.join(folder, "pando.conf")
        with open(conf, "w") as file:
            file.write(re.sub(r"@(127\.0\.0\.1:\d+)/", rf"@127.0.0.1:{port},\1/", text))
        assert pando(conf, "site", "list")[0] == 0
        with open(conf, "w") as file:
            file.write(re.sub(r"(?m)^directory = .*$", "directory = postgresql://x@127.0.0.1,127.0.0.2/y", text))
        code, _, errors = pando(conf, "site", "list")
        assert code == 1 and errors.count("5432") == 2, errors
        with open(conf, "w") as file:
            file.write(re.sub(r"(?m)^directory = .*$", "directory = postgresql://[x/y", text))
        expect(conf, 2, "malformed", "site", "list")


def test_strange_certificates_are_named(c):
    with tempfile.TemporaryDirectory() as folder:
        conf = os.path.join(folder, "pando.conf")
        assert pando(conf, "init", "--data-dir", f"{folder}/data", "--node", "n", "--hostname", "h.example")[0] == 0
        own = os.path.join(folder, "own.conf")
        for change, words in (({"ctl_certificate": "/nonexistent"}, "No such file"),
                              ({"ctl_key": f"{folder}/ctl.key"}, "mismatch"),
                              ({"ctl_certificate": f"{folder}/ctl.pem", "ctl_key": f"{folder}/ctl.key"}, "certificate"),
                              ({"ctl_certificate": "", "ctl_key": ""}, "cert issue --role ctl")):
            text = open(c.conf).read()
            for key, value in change.items():
                text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
            with open(own, "w") as file:
                file.write(text)
            expect(own, 1, words, "queue", "list")
            assert pando(own, "check")[0] == 1, change
        issue = ("cert", "issue", "--role", "node", "--name", "m")
        before = open(f"{folder}/authority.pem").read()
        expect(conf, 1, "never replaced", *issue, "--certificate", f"{folder}/authority.pem", "--key", f"{folder}/m.key")
        expect(conf, 1, "never replaced", *issue, "--certificate", f"{folder}/m.pem", "--key", f"{folder}/m.pem")
        assert open(f"{folder}/authority.pem").read() == before and not glob.glob(f"{folder}/m.*")
        expect(conf, 1, "is not the key of the authority", *issue, "--certificate", f"{folder}/m.pem", "--key",
               f"{folder}/m.key", "--authority-key", f"{folder}/node.key")


def test_init_writes_nothing_when_refused_and_contradicts_nothing(c):
    folder = tempfile.mkdtemp(prefix="pando-init-")
    try:
        conf = f"{folder}/etc/pando.conf"
        for words, *arguments in (("no host name", "--hostname", "a b"), ("cannot name a site", "--site", "A"),
                                  ("is no domain name", "--domain", "x y"),
                                  ("that others can connect to", "--internal-address", "0.0.0.0"),
                                  ("cannot be reached", "--postgres", "postgresql://pando@127.0.0.1:9/pando")):
            expect(conf, 1, words, "init", "--data-dir", f"{folder}/data", *arguments)
            assert not glob.glob(f"{folder}/etc/*") and not glob.glob(f"{folder}/data"), os.listdir(folder)
        same = ("init", "--standalone", "--data-dir", f"{folder}/data", "--node", "n", "--hostname", "h.example",
                "--domain", "h.example", "--internal-port", str(4700 + OFFSET))
        for _ in range(2):
            code, _, errors = pando(conf, *same)
            assert code == 0, errors
        assert os.stat(conf).st_mode & 0o007 == 0
        expect(conf, 1, "says `hostname = h.example`", "init", "--hostname", "other.example")
        expect(c.conf, 1, "no way back", "init", "--standalone")
        expect(c.conf, 1, "names another PostgreSQL", "init", "--postgres", "postgresql://x@127.0.0.1:9/y")
    finally:
        shutil.rmtree(folder)


def test_what_the_units_start_is_what_is_installed(c):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["meson", "install", "-C", demo.BUILD, "--no-rebuild", "--quiet", "--destdir", folder], check=True,
                       stdout=subprocess.DEVNULL)
        found = {os.path.basename(path): path for path in glob.glob(f"{folder}/**", recursive=True)}
        prefix = os.path.dirname(os.path.dirname(found["pando"]))
        for kind in demo.PROGRAMS:
            unit = open(found[f"pando-{kind}.service"]).read()
            program, option, conf = re.search(r"^ExecStart=/usr/(\S+) (\S+) (\S+)$", unit, re.M).groups()
            assert os.access(os.path.join(prefix, program), os.X_OK), program
            assert (option, conf) == ("--config", "/etc/pando/pando.conf")
            user = re.search(r"^User=(\S+)$", unit, re.M).group(1)
            accounts = open(os.path.join(prefix, "lib/sysusers.d/pando.conf")).read()
            assert re.search(rf"^u {user} ", accounts, re.M) and user != "root"
            owners = open(os.path.join(prefix, "lib/tmpfiles.d/pando.conf")).read()
            assert re.search(rf"^z /etc/pando/{kind}\.key +0400 {user} ", owners, re.M)


def test_a_copy_that_does_not_follow_is_told_by_every_command(c):
    code, output, _ = pando(c.conf, "check")
    assert code == 0 and output.count("\n") < 5 and "checks found nothing wrong" in output, output
    code, output, _ = pando(c.conf, "check", "--all")
    assert code == 0 and "volume a1-1" in output and "reachable and writable" in output, output
    assert pando(c.conf, "at-risk")[1] == "nothing is at risk: every accepted message is on a second site\n"
    every = sorted((row["volume"], row["replica"]) for row in c.pando_json("lag"))
    for daemon in c.daemons("site-b"):
        daemon.stop(signal.SIGKILL)
    try:
        demo.wait_for("the loss to be noticed", 10, lambda: all(
            row["connected"] is False and row["lag_bytes"] is None for row in c.pando_json("lag", check=False)))
        rows = c.pando_json("lag", check=False)
        assert sorted((row["volume"], row["replica"]) for row in rows) == every and every, rows
        code, output, _ = pando(c.conf, "check")
        assert code == 1 and "its replica at node-b1 is not connected" in output, output
        assert re.search(r"volume a1-1 +FAILED", output), output
        code, output, errors = pando(c.conf, "at-risk")
        assert "volume a1-1 has no copy at another site that follows" in errors, errors
        assert "nothing is at risk: every accepted" not in output, output
    finally:
        c.heal()


def test_mail_goes_to_volumes_with_a_copy_elsewhere_first(c):
    """The last one of all: a volume cannot be taken away again."""
    c.pando("volume", "add", "lonely", "--node", "node-a1")
    for _ in range(3):
        name = c.unique("placed") + "@example.org"
        c.pando("mailbox", "add", name, "--no-password")
        assert c.home(name)["volume"] != "lonely"
    code, output, errors = pando(c.conf, "at-risk")
    assert "volume lonely has no copy: all of its mail is at risk" in errors, errors
    assert "every accepted message is on a second site" not in output, output
