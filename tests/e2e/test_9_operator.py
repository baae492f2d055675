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
        assert code == 0 and output.count("\n  " + " ".join(words)) == 1 and output.count("\n") < 16, (words, output)
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


def backups_of(c):
    """What the verbs about backups are told."""
    folder, key = os.path.join(c.folder, "backup-listed"), os.path.join(c.folder, "backup-listed.key")
    os.makedirs(folder)
    assert pando(c.conf, "backup", "key", "--out", key)[0] == 0
    public = re.search("pando-backup-public:[0-9a-f]{64}", open(key).read()).group()
    assert pando(c.conf, "backup", "--to", folder, "--key", public)[0] == 0
    return {"backup": ["--to", folder, "--key", public], "backup list": ["--from", folder], "backup verify": ["--from", folder],
            "backup prune": ["--from", folder, "--keep", "1"]}


def test_json_of_every_listing_is_json_with_numbers_and_booleans(c):
    c.let_go_of_tails()
    arguments = {"volume show": ["a1-1"], "mailbox show": ["u0001@example.org"], "queue show": ["00"],
                 "salvage show": ["node-a1/a1-1/nothing"],
                 "node drain": ["node-a1", "--dry-run"], "volume balance": ["--dry-run"],
                 "message expunged": ["u0001@example.org"], "message recover": ["u0001@example.org", "--all"],
                 "failover": ["site-a", "--dry-run"], "failback": ["site-a"], "copy add": ["a1-1", "node-b1"],
                 "copy remove": ["a1-1", "node-b2"], "copy verify": ["a1-1"],
                 "copy reseed": ["a1-1", "node-b1", "--accept-one-copy", "--wait"], **backups_of(c)}
    for words, usage in verbs():
        # Nothing has been cut off here that could be shown.
        if "--json" in usage and words != ["salvage", "show"]:
            code, output, errors = pando(c.conf, *words, *arguments.get(" ".join(words), []), "--json")
            for name, value in members(json.loads(output)):
                assert value not in ("yes", "no", "true", "false"), (words, name, value)
                # 64 bits, more than a number of JSON holds everywhere.
                assert name == "system_identifier" or not re.fullmatch(r"[0-9]+", str(value)) or \
                    not isinstance(value, str), (words, name, value)
            # No such message or tail, and a domain that keeps nothing.
            refused = words[0] == "message" or words in (["queue", "show"], ["salvage", "show"])
            assert code == (1 if refused else 0), (words, code, errors)


def test_places_are_listed_by_site_and_name(c):
    """Whatever the database gives first: a row moves behind the others when it is written."""
    conninfo = re.search(r"(?m)^directory = (.*)$", open(c.conf).read()).group(1)
    subprocess.run([f"{demo.POSTGRES_BIN}/psql", "-q", conninfo, "-c",
                    "update pando.node set lmtp = lmtp where name = 'node-a1';"
                    "update pando.volume set durability = durability where name in ('a1-1', 'b1-1')"], check=True)
    status = c.pando_json("status")
    names = [row["volume"] for row in status["volumes"]]
    assert len(names) > 3 and names == sorted(names), names
    daemons = [(row["site"], row["daemon"], row["name"]) for row in status["daemons"]]
    assert daemons == sorted(daemons, key=lambda row: (row[0], row[1] == "router", row[2], row[1])), daemons
    rows = [row["volume"] for row in c.pando_json("lag")]
    assert rows == sorted(rows), rows


def test_a_part_that_is_nothing_is_not_well(c):
    looks = ("check", "status", "lag", "at-risk", "salvage list")
    for look in looks:
        for option, wrong, right in (("site", "site-x", "site-a"), ("node", "node-a11", "node-a1"),
                                     ("volume", "a1-11", "a1-1")):
            expect(c.conf, 1, f"there is no {option} `{wrong}`; did you mean `{right}`? See `pando {option} list`",
                   *look.split(), f"--{option}", wrong)
        expect(c.conf, 2, "node node-b1 is not at site-a", *look.split(), "--site", "site-a", "--node", "node-b1")
        expect(c.conf, 2, "volume a1-1 has no copy at node-a2", *look.split(), "--volume", "a1-1", "--node", "node-a2")
    expect(c.conf, 1, "did you mean `site-a`", "failover", "node-a1", "--to", "sit-a")
    expect(c.conf, 1, "did you mean `a1-1`", "volume", "show", "a1-11")
    expect(c.conf, 1, "did you mean `a1-1`", "open", "a1-11", "--alone")
    expect(c.conf, 1, "did you mean `node-a1`", "volume", "add", "x", "--node", "node-a", "--replica", "node-b1")
    name = c.unique("site")
    c.pando("site", "add", name)
    for look in looks:
        code, output, errors = pando(c.conf, *look.split(), "--site", name)
        assert code == 0 and "nothing here to check" in output and "well" not in output, (look, output, errors)
        assert "nothing wrong" not in output and "nothing is at risk" not in output, (look, output)
        json.loads(pando(c.conf, *look.split(), "--site", name, "--json")[1])


def test_wrong_usage_ends_with_2(c):
    for words, *arguments in (
            ("an argument is missing", "site", "add"),
            ("--lmtp is missing", "node", "add", "x", "--site", "site-a"),
            ("--node is missing", "volume", "add", "x"),
            ("--volume needs a value", "mailbox", "add", "x@example.org", "--volume"),
            ("--volume is given nothing", "mailbox", "add", "x@example.org", "--volume", "", "--no-password"),
            ("--site is given nothing", "check", "--site="),
            ("--data-dir is given nothing", "init", "--data-dir", ""),
            ("--json takes no value", "status", "--json=1"),
            ("--site is given twice", "router", "add", "x", "--site", "site-a", "--site", "site-b"),
            ("in more than one way", "mailbox", "add", "x@example.org", "--no-password", "--password", "x"),
            ("wants a number of bytes", "mailbox", "add", "x@example.org", "--quota", "-1", "--no-password"),
            ("is no queue id", "queue", "drop", ""),
            ("there is no verb `site frob`", "site", "frob"),
            ("there is no verb `mailbox`: mailbox takes add, import, set, ", "mailbox"),
            ("there is no verb `frob`", "frob"),
            (r"there is no verb `frob\x0apando: done`", "frob\npando: done"),
            ("there is no verb `nope`\n", "nope"),
            ("there is no verb `opne`; did you mean `open`?", "opne"),
            ("there is no verb `frob`", "help", "frob"),
            ("there is no verb `statu`; did you mean `status`?", "statu"),
            ("there is no verb `mailbx add`; did you mean `mailbox add`?", "mailbx", "add", "x@example.org"),
            ("--config is given twice", "--config", c.conf, "status"),
            ("--config is given twice", "status", "--config", c.conf)):
        expect(c.conf, 2, words, *arguments)
        # Nothing drives the sentence off the screen.
        assert pando(c.conf, *arguments)[2].count("\n") < 6, arguments


def test_arguments_that_are_not_utf8_are_refused_by_every_command(c):
    for words, usage in verbs():
        for arguments in ([b"v\xffx"], [b"--config", b"\xff"]):
            done = subprocess.run([demo.PANDO.encode(), b"--config", c.conf.encode(), *[w.encode() for w in words],
                                   *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
            assert done.returncode == 2 and b"is not UTF-8" in done.stderr, (words, done)
            assert b"`v\\xffx`" in done.stderr or b"--config" in done.stderr, (words, done)
    done = subprocess.run([demo.PANDO, "--config", c.conf, "mailbox", "import", "-"], stderr=subprocess.PIPE,
                          stdout=subprocess.PIPE, input=b"new@example.org\t\tv\xff\n", timeout=30)
    assert done.returncode == 1 and b"line 1" in done.stderr and b"byte sequence" not in done.stderr, done


def test_output_that_cannot_be_written_is_a_failure(c):
    command = f"{demo.PANDO} --config {c.conf}"

    def shell(text):
        done = subprocess.run(["bash", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        return done.returncode, done.stdout, done.stderr
    for verb in ("status", "--help", "--version", "config sample", "mailbox list --json", "help"):
        for to in (">&-", ">/dev/full"):
            code, _, errors = shell(f"{command} {verb} {to}")
            assert code == 1 and "the output could not be written" in errors, (verb, to, code, errors)
        # Who has read enough wants no sentence.
        code, _, errors = shell(f"{command} {verb} | true; exit ${{PIPESTATUS[0]}}")
        assert code in (0, 1) and not errors, (verb, code, errors)
        assert shell(f"{command} {verb} <&- >&- 2>&-")[0] == 1, verb


def test_whoever_is_named_by_a_variable_is_written_down_in_ascii(c):
    name = c.unique("site")
    done = subprocess.run([demo.PANDO, "--config", c.conf, "site", "add", name], stderr=subprocess.PIPE, timeout=30,
                          env={**os.environb, b"SUDO_USER": b"an\xffn\033a"})
    assert done.returncode == 0, done.stderr
    assert [row["who"] for row in c.pando_json("audit") if row["detail"] == name] == ["an?n?a"]


def test_two_hyphens_end_the_options(c):
    name = "--json@example.org"
    assert pando(c.conf, "mailbox", "add", "--no-password", "--", name)[0] == 0
    assert json.loads(pando(c.conf, "mailbox", "show", "--json", "--", name)[1])["address"] == name
    expect(c.conf, 2, "`-h` is too much", "mailbox", "show", "--", name, "-h")
    assert pando(c.conf, "mailbox", "remove", "--", name)[0] == 0
    # What an option is given is no option.
    expect(c.conf, 1, "there is no mailbox", "mailbox", "passwd", name[2:], "--password", "--help")
    expect(c.conf, 2, "stands where the verb does", "--json", "status")
    done = subprocess.run([demo.PANDO, "--config"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "--config needs the name of a file" in done.stderr, done


def test_addresses_hold_no_character_that_is_not_seen(c):
    for character in ("\u202e", "\u2069", "\u200b", "\u200d", "\u00ad", "\u009b", "\ufeff", "\u00a0", "\u2028"):
        name = f"an{character}na@example.org"
        words = f"U+{ord(character):04X}"
        expect(c.conf, 1, words, "mailbox", "add", name, "--no-password")
        expect(c.conf, 1, words, "alias", "add", name, "u0001@example.org")
        expect(c.conf, 1, f"line 1: ", "mailbox", "import", "-", text=name + "\n")
        expect(c.conf, 1, "cannot name a site", "site", "add", f"a{character}")
        with c.smtp() as smtp:
            smtp.ehlo()
            smtp.docmd("MAIL", "FROM:<s@example.net> SMTPUTF8")
            smtp.send(f"RCPT TO:<{name}>\r\n".encode())
            assert smtp.getreply()[0] in (501, 550), name
    with c.smtp() as smtp:
        smtp.ehlo()
        smtp.send("MAIL FROM:<s\u202ex@example.net> SMTPUTF8\r\n".encode())
        assert smtp.getreply()[0] == 501
    code, _, errors = pando(c.conf, "mailbox", "add", "an\u202ena@example.org", "--no-password")
    assert "\u202e" not in errors and "an\\u202ena@example.org" in errors, errors
    # A script that is written from right to left needs none of them.
    assert pando(c.conf, "mailbox", "add", "\u05e9\u05dc\u05d5\u05dd@example.org", "--no-password")[0] == 0


def test_refusals_end_with_1_and_say_why(c):
    places = ["--imap", "127.0.0.1:2", "--control", "127.0.0.1:3", "--replicator", "127.0.0.1:4"]
    for words, *arguments in (
            ("cannot name a site", "site", "add", "Site A"),
            ("cannot name a site", "site", "add", "a\nb"),
            ("exists already", "site", "add", "site-a"),
            # `pando failover NAME` takes all three.
            ("a node is called `node-a1` already: no site can be", "site", "add", "node-a1"),
            ("a volume is called `a1-1` already: no site can be", "site", "add", "a1-1"),
            ("a site is called `site-a` already: no volume can be", "volume", "add", "site-a", "--node", "node-a1"),
            ("a node is called `node-b1` already: no volume can be", "volume", "rename", "a1-1", "node-b1"),
            ("a site is called `site-b` already: no node can be", "node", "add", "site-b", "--site", "site-a",
             "--lmtp", "127.0.0.1:1", *places),
            ("in numbers", "node", "add", "x", "--site", "site-a", "--lmtp", "mail.example.org:24", *places),
            ("in numbers", "node", "add", "x", "--site", "site-a", "--lmtp", "0.0.0.0:24", *places),
            ("see `pando site list`", "node", "add", "x", "--site", "nowhere", "--lmtp", "127.0.0.1:1", *places),
            ("named twice", "volume", "add", "x", "--node", "node-a1", "--replica", "node-a1"),
            ("needs a replica", "volume", "add", "x", "--node", "node-a1", "--durability", "strict"),
            ("cannot name a volume", "volume", "show", "%"),
            ("is no domain name", "domain", "add", "x..y"),
            ("its last part is a number", "domain", "add", "192.0.2.1"),
            ("its last part is a number", "domain", "add", "9" * 40),
            ("run `pando domain add elsewhere.example` first", "mailbox", "add", "a@elsewhere.example", "--no-password"),
            ("is too long", "mailbox", "add", "a" * 65 + "@example.org", "--no-password"),
            ("the address `127.0.0.1:2` is given twice", "node", "add", "x", "--site", "site-a", "--lmtp", "127.0.0.1:2",
             *places),
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
    taken = {row["node"]: row for row in c.pando_json("node", "list")}["node-a1"]["control"]
    expect(c.conf, 1, f"`{taken}` is an address of the node `node-a1` already", "router", "add", "x", "--site", "site-a",
           "--control", taken)
    expect(c.conf, 1, "is an address of the node `node-a1` already", "node", "add", "x", "--site", "site-a", "--lmtp", taken,
           *places)
    expect(c.conf, 1, "more than four fields", "mailbox", "import", "-", text="new@example.org\t\t\tlocal\tx\n")
    code, output, _ = pando(c.conf, "failover", "a1-1", "--to", "site-a", "--dry-run")
    assert code == 1 and "site-a has its primary already" in output, output
    expect(c.conf, 1, "line 2: `bad` is no address", "mailbox", "import", "-", text="new@example.org\nbad\n")
    expect(c.conf, 1, "the prepared key is malformed", "mailbox", "import", "-",
           text="new@example.org\tSCRAM-SHA-256$4096:x\n")
    expect(c.conf, 1, "cannot be read", "mailbox", "import", "/tmp")
    # What is left out is a comment, and no address.
    expect(c.conf, 1, "line 3: `bad` is no address", "mailbox", "import", "-",
           text="# new people\n#new@example.org\nbad\n")
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
        expect(conf, 1, "begins or ends with a space", "init", "--data-dir", f"{folder}/data ")
        expect(conf, 1, "holds a control character", "init", "--data-dir", f"{folder}/da\nta")
        assert not glob.glob(f"{folder}/etc/*") and not glob.glob(f"{folder}/da*"), os.listdir(folder)
        same = ("init", "--standalone", "--data-dir", f"{folder}/data", "--node", "n", "--hostname", "h.example",
                "--domain", "h.example", "--internal-port", str(4700 + OFFSET))
        for _ in range(2):
            code, _, errors = pando(conf, *same)
            assert code == 0, errors
        assert os.stat(conf).st_mode & 0o007 == 0
        expect(conf, 1, "says `hostname = h.example`", "init", "--hostname", "other.example")
        expect(conf, 1, "leave out --internal-port", "init", "--internal-port", "20000")
        expect(conf, 1, "leave out --internal-address", "init", "--internal-address", "192.0.2.1")
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
        assert re.search(r"\n\d+ of \d+ checks failed, \d+ warn; the rest found nothing wrong", output), output
        code, output, errors = pando(c.conf, "at-risk")
        assert code == 1 and "volume a1-1 has no copy at another site that follows" in errors, errors
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
    for more in (["--durability", "remote"], ["--durability", "strict", "--replica", "node-a2"]):
        name = c.unique("apart")
        code, _, errors = pando(c.conf, "volume", "add", name, "--node", "node-a1", *more)
        assert code == 0 and f"volume {name} has no replica at another site" in errors, errors
    for more in (["--replica", "node-b1"], ["--durability", "strict", "--replica", "node-b1"], ["--durability", "local"]):
        code, _, errors = pando(c.conf, "volume", "add", c.unique("fine"), "--node", "node-a1", *more)
        assert code == 0 and not errors, errors
    code, output, errors = pando(c.conf, "at-risk")
    assert code == 1 and "volume lonely has no copy: all of its mail is at risk" in errors, errors
    rows = c.pando_json("at-risk", "--volume", "lonely", check=False)
    assert [(row["volume"], row["what"], row["count"]) for row in rows] == [("lonely", "volume", 0)], rows
    assert "every accepted message is on a second site" not in output, output
    assert [v["copies"] for v in c.pando_json("status")["volumes"] if v["volume"] == "lonely"] == ["none elsewhere"]
