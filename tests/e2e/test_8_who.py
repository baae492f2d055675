"""Who is who: a directory that comes back older gives nobody another one's mail."""

import glob
import imaplib
import os
import re
import shutil
import subprocess
import tempfile

import demo
from test_6_runbooks import restore
from test_8_queue import away, queued, said
from world import DOMAIN, PASSWORD, make_message, wait_for


def pando(c, *arguments):
    done = subprocess.run([demo.PANDO, "--config", c.conf, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def sql(c, text):
    """As somebody who restores the directory has written there, past `pando`."""
    url = [line.split("=", 1)[1].strip() for line in open(c.conf) if line.startswith("directory =")][0]
    done = subprocess.run([f"{demo.POSTGRES_BIN}/psql", "-qAt", "-v", "ON_ERROR_STOP=1", url], input="set search_path = pando;\n" + text,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def login_refusal(c, site, name, password=PASSWORD):
    imap = c.imap(site, login=False)
    try:
        imap.login(name, password)
        imap.logout()
        return ""
    except imaplib.IMAP4.error as error:
        return str(error)


def new_mailbox(c, word):
    name = f"{c.unique(word)}@{DOMAIN}"
    c.pando("mailbox", "add", name, "--password", PASSWORD)
    wait_for(name, 5, lambda: all(login_refusal(c, site, name) == "" for site in c.sites))
    return name


def is_said_to_be_another(c, site, name):
    """Before a router hears of what has been written, it knows nobody of that name; never is another one's mail shown."""
    said = login_refusal(c, site, name)
    assert said, f"{name} is let in at {site}"
    return "INUSE" in said and "Another mailbox is stored" in said


def test_a_number_that_is_given_again_shows_nobody_anothers_mail(c):
    # Of damage that other tests have made.
    c.let_go_of_tails()
    alice, bob = new_mailbox(c, "alice"), f"{c.unique('bob')}@{DOMAIN}"
    hers = c.send("site-b", alice)
    c.wait_mail(alice, hers)
    # The directory was restored to a state before Alice, and then Bob was added.
    before = sql(c, f"select mark from mailbox where address = '{alice}'")
    sql(c, f"update mailbox set address = '{bob}', mark = md5('{bob}') where address = '{alice}'")
    for site in c.sites:
        wait_for(f"a refusal at {site}", 5, lambda: is_said_to_be_another(c, site, bob))
    # Nor is he given what she has expunged.
    c.pando("domain", "set", DOMAIN, "--keep-expunged-days", "1")
    for words in (["expunged", bob], ["recover", bob, "--all"]):
        code, _, errors = pando(c, "message", *words)
        assert code == 1 and "is another mailbox" in errors, errors
    c.pando("domain", "set", DOMAIN, "--keep-expunged-days", "0")
    # His mail waits, where hers is.
    his = c.send("site-b", bob)
    wait_for("it to wait", 10, lambda: any(bob in str(item) for item in c.pando_json("queue", "list")))
    code, output, _ = pando(c, "check")
    row = c.home(bob)
    assert code == 1 and f"mailbox {bob}" in output and f"volume {row['volume']} holds another" in output, output
    assert f"made for {alice} (messages: 1)" in output and f"`pando mailbox remove {bob}`" in output, output
    code, _, errors = pando(c, "mailbox", "adopt", bob)
    assert code == 1 and f"--made-for {alice}; else remove `{bob}`" in errors, errors
    # Bob is added anew, at home elsewhere, and she under her own name.
    elsewhere = [v["volume"] for v in c.pando_json("volume", "list") if v["primary_node"] != row["home"]][0]
    number = "(select value from counter where name = 'mailbox')"
    sql(c, f"""begin;
        update mailbox set address = '{alice}' where address = '{bob}';
        update counter set value = value + 1 where name = 'mailbox';
        insert into mailbox (id, address, domain_id, volume_id, durability, enabled, quota_bytes, mark)
            select {number}, '{bob}', domain_id, (select id from volume where name = '{elsewhere}'), durability, enabled,
            quota_bytes, md5('{bob} anew') from mailbox where id = {row['id']};
        insert into credential select {number}, scram from credential where id = {row['id']};
        commit;""")
    wait_for("a refusal", 5, lambda: "INUSE" in login_refusal(c, "site-b", alice))
    assert f"`pando mailbox adopt {alice}`" in pando(c, "check")[1]
    code, output, errors = pando(c, "mailbox", "adopt", alice)
    assert code == 0 and f"{alice} is mailbox {row['id']} of volume {row['volume']} again, and has its 1" in output, errors
    assert sql(c, f"select mark from mailbox where address = '{alice}'") == before
    assert "mailbox adopt" in pando(c, "audit")[1]
    wait_for("her mail", 5, lambda: all(login_refusal(c, site, alice) == "" for site in c.sites))
    assert c.subjects(alice, "site-b") == [hers]
    code, _, errors = pando(c, "mailbox", "adopt", alice)
    assert code == 1 and "there is nothing to adopt" in errors, errors
    assert "there is no mailbox" in pando(c, "mailbox", "adopt", "nobody@" + DOMAIN)[2]
    # What waited for Bob was accepted for the mailbox that is gone: it goes to nobody else.
    wait_for("it to be given up", 40, lambda: not queued(c))
    assert c.subjects(alice) == [hers] and c.subjects(bob) == []
    again = c.send("site-a", bob)
    c.wait_mail(bob, again)
    assert pando(c, "check")[0] == 0


def test_numbers_do_not_go_back_with_a_directory_that_is_restored(c):
    """By pg_dump and psql, as docs/operating.md has it for backups."""
    url = re.search(r"^directory = (.*)$", open(c.conf).read(), re.M).group(1)
    dump = subprocess.run([f"{demo.POSTGRES_BIN}/pg_dump", "--schema=pando", url], check=True, stdout=subprocess.PIPE)
    alice = new_mailbox(c, "alice")
    hers, number = c.send("site-a", alice), c.home(alice)["id"]
    c.wait_mail(alice, hers)
    restore(url, dump.stdout.decode())
    code, output, _ = pando(c, "check")
    assert re.search(rf"mailbox numbers +warn .*next one is {number}, and volume \S+ has seen {number}", output), output
    # Another mailbox, which would have got her number.
    bob = f"{c.unique('bob')}@{DOMAIN}"
    c.pando("mailbox", "add", bob, "--password", PASSWORD)
    wait_for("Bob", 15, lambda: login_refusal(c, "site-a", bob) == "")
    assert c.home(bob)["id"] == number + 1 and c.subjects(bob) == []
    wait_for("her to be unknown", 15, lambda: "AUTHENTICATIONFAILED" in login_refusal(c, "site-b", alice))
    code, output, _ = pando(c, "check", "--all")
    assert code == 0 and re.search(r"mailbox numbers +ok", output), output
    # She is added again, under a new number; mail comes before anybody remembers the old one.
    c.pando("mailbox", "add", alice, "--password", PASSWORD)
    wait_for("her", 5, lambda: login_refusal(c, "site-a", alice) == "")
    new, since = c.home(alice)["id"], c.send("site-a", alice)
    c.wait_mail(alice, since)
    code, _, errors = pando(c, "mailbox", "adopt", alice)
    assert code == 1 and "has got 1 message since" in errors and f"--number {number}" in errors, errors
    uids = c.mailbox(alice)[1]
    assert pando(c, "mailbox", "adopt", alice, "--number", str(number + 1))[0] == 1
    c.pando("mailbox", "adopt", alice, "--number", str(number))
    wait_for("her old mail", 5, lambda: login_refusal(c, "site-b", alice) == "" and c.subjects(alice) == [hers])
    assert c.home(alice)["id"] == number and c.home(alice)["password"] is True and c.mailbox(alice)[1] != uids
    # And back: nothing is lost by choosing.
    c.pando("mailbox", "adopt", alice, "--number", str(new))
    wait_for("her new mail", 5, lambda: login_refusal(c, "site-b", alice) == "" and c.subjects(alice) == [since])
    text = "".join(f"{c.unique('many')}@{DOMAIN}\n" for _ in range(3))
    sql(c, f"update counter set value = {number - 1} where name = 'mailbox'")
    subprocess.run([demo.PANDO, "--config", c.conf, "mailbox", "import", "-"], input=text, text=True, check=True,
                   stdout=subprocess.PIPE)
    assert min(c.home(name)["id"] for name in text.split()) > number


def cut_off(c, daemon):
    """It does not reach PostgreSQL any more: it starts from its snapshot. Gives what undoes that."""
    text = open(daemon.config).read()

    def write(other):
        daemon.stop()
        with open(daemon.config, "w") as file:
            file.write(other)
        daemon.start()
        c.wait_nodes()
        c.wait_serving()
    write(re.sub(r"(?m)^(directory = \S+@)[^/]+/", r"\g<1>127.0.0.1:9/", text))
    return lambda: write(text)


def test_an_address_that_is_anothers_by_now_opens_and_gets_nothing_where_that_is_not_known_yet(c):
    anna = new_mailbox(c, "anna")
    renamed = f"{c.unique('anna')}@{DOMAIN}"
    hers = c.send("site-a", anna)
    c.wait_mail(anna, hers)
    volume = c.home(anna)["volume"]
    node = away(c, anna)
    waits = c.send("site-a", anna)
    first = {id for _, id in queued(c)}
    assert first
    heal = cut_off(c, node)
    told = said(node, "mailbox_not_agreed")
    try:
        c.pando("mailbox", "rename", anna, renamed)
        c.pando("mailbox", "add", anna, "--password", PASSWORD + "2", "--volume", volume)
        # The routers have heard: her password is not taken for her old address.
        wait_for("the routers", 15, lambda: all("AUTHENTICATIONFAILED" in login_refusal(c, site, anna)
                                                for site in ("site-a", "site-b")))
        for name, password in ((anna, PASSWORD + "2"), (renamed, PASSWORD)):
            assert "UNAVAILABLE] Servers do not agree yet" in login_refusal(c, "site-a", name, password)
        # What is accepted for the newcomer waits too, and both are told of once.
        his = c.send("site-b", anna)
        wait_for("it to wait", 10, lambda: {id for _, id in queued(c)} - first)
        for id in {id for _, id in queued(c)}:
            wait_for("a reason", 10, lambda: "4.4.3 Servers do not agree" in pando(c, "queue", "show", id)[1])
        assert said(node, "mailbox_not_agreed") == told + 2
    finally:
        heal()
    wait_for("the newcomer", 15, lambda: login_refusal(c, "site-a", anna, PASSWORD + "2") == "")
    c.wait_mail(renamed, waits, seconds=40)
    wait_for("both queues to be empty", 40, lambda: not queued(c))
    assert c.subjects(renamed) == [hers, waits]
    c.pando("mailbox", "passwd", anna, "--password", PASSWORD)
    wait_for("the newcomer's own mail", 15, lambda: login_refusal(c, "site-b", anna) == "")
    assert c.subjects(anna) == [his]


def test_what_a_router_accepts_for_an_address_that_it_has_not_heard_of_goes_to_whose_it_is(c):
    """The sender means who has the address; the router takes it for the one who had it."""
    anna = new_mailbox(c, "anna")
    renamed, router = f"{c.unique('anna')}@{DOMAIN}", c.daemon("router-a/router")
    volume = c.home(anna)["volume"]
    heal = cut_off(c, router)
    try:
        c.pando("mailbox", "rename", anna, renamed)
        c.pando("mailbox", "add", anna, "--password", PASSWORD, "--volume", volume)
        wait_for("the others", 15, lambda: login_refusal(c, "site-b", renamed) == "" and login_refusal(c, "site-b", anna) == "")
        sent = [c.send("site-a", anna)]
        node = away(c, anna)
        sent.append(c.send("site-a", anna))
        node.start()
    finally:
        heal()
    c.wait_mail(anna, sent[0], "site-b", seconds=40)
    c.wait_mail(anna, sent[1], "site-b", seconds=40)
    wait_for("both queues to be empty", 40, lambda: not queued(c))
    assert c.subjects(renamed, "site-b") == [] and sorted(c.subjects(anna, "site-b")) == sorted(sent)


def test_what_waits_for_a_mailbox_that_is_gone_is_bounced_and_not_given_to_the_newcomer(c):
    sender, anna = new_mailbox(c, "sender"), new_mailbox(c, "anna")
    node, subject = away(c, anna), c.unique("gone")
    try:
        with c.smtp("site-a") as smtp:
            assert not smtp.sendmail(sender, [anna], make_message(subject))
        assert queued(c)
        # Removed and added in one moment: no router sees the address without a mailbox.
        old, number = c.home(anna)["id"], "(select value from counter where name = 'mailbox')"
        sql(c, f"""begin;
            update counter set value = value + 1 where name = 'mailbox';
            create temp table newcomer as select m.*, c.scram from mailbox m join credential c on c.id = m.id where m.id = {old};
            delete from credential where id = {old};
            delete from mailbox where id = {old};
            insert into mailbox (id, address, domain_id, volume_id, durability, enabled, quota_bytes, mark)
                select {number}, address, domain_id, volume_id, durability, enabled, quota_bytes, md5('{anna} anew') from newcomer;
            insert into credential select {number}, scram from newcomer;
            commit;""")
    finally:
        node.start()
        c.wait_nodes()
        c.wait_serving()
    wait_for("both queues to be empty", 40, lambda: not queued(c))
    wait_for("the newcomer", 15, lambda: login_refusal(c, "site-a", anna) == "")
    assert c.subjects(anna) == []
    imap = c.imap("site-a", sender)
    imap.select("INBOX", readonly=True)
    bounce = b"".join(part for item in imap.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(item, tuple) for part in item)
    imap.logout()
    assert b"5.1.1" in bounce and subject.encode() in bounce, bounce


def test_adopting_needs_the_node_that_serves_the_volume(c):
    carol = new_mailbox(c, "carol")
    home = c.home(carol)
    c.daemon(home["home"] + "/node").stop(9)
    try:
        code, _, errors = pando(c, "mailbox", "adopt", carol)
        assert code == 1 and f"no node serves volume {home['volume']}" in errors, errors
    finally:
        c.heal()


MIGRATIONS = sorted(glob.glob(os.path.join(demo.TOP, "core/directory/migrations/postgres/*.sql")))
# One cluster, in the columns of the first version.
FIRST_ROWS = """
    insert into site values (1, 's');
    insert into node values (1, 1, 'n', '127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4');
    insert into volume values (1, 'v', 1, md5('v'), 1, 'local', false, 0);
    insert into volume_copy values (1, 1, 1, true);
    insert into domain values (1, 'h.example');
    insert into mailbox values (1, 'a@h.example', 1, 1, '', true, 0), (2, 'b@h.example', 1, 1, '', true, 0);
    insert into counter select kind, 1 from unnest(array['site', 'node', 'volume', 'volume_copy', 'domain']) kind;
    insert into counter values ('mailbox', 2);
"""


def migrate(psql, path, rows=""):
    name = os.path.basename(path)
    text = (f"set search_path = pando; begin; {open(path).read()}; "
            f"insert into migration values ({int(name[:3])}, '{name}'); {rows} commit;")
    subprocess.run([*psql, "-f", "-"], input=text, text=True, check=True, stdout=subprocess.PIPE)


def test_a_directory_of_any_older_version_is_brought_up_to_date(c):
    """By `pando init`, with what stands in it; mailboxes get the marks that they had not."""
    url = re.search(r"^directory = (.*)$", open(c.conf).read(), re.M).group(1)
    own = url.rsplit("/", 1)[0] + "/older"
    psql = [f"{demo.POSTGRES_BIN}/psql", "-qAt", "-v", "ON_ERROR_STOP=1", own]
    for applied in range(1, len(MIGRATIONS)):
        folder = tempfile.mkdtemp(prefix="pando-older-")
        conf = f"{folder}/pando.conf"

        def run(*arguments):
            subprocess.run([demo.PANDO, "--config", conf, *arguments], check=True, stdout=subprocess.PIPE)

        sql(c, "create database older")
        try:
            subprocess.run([*psql, "-c", "create schema pando; create table pando.migration "
                            "(number integer primary key, name text not null)"], check=True)
            for path in MIGRATIONS[:applied]:
                migrate(psql, path, FIRST_ROWS if path == MIGRATIONS[0] else "")
            run("init", "--postgres", own, "--data-dir", f"{folder}/data", "--node", "n", "--hostname", "h.example")
            run("mailbox", "add", "c@h.example", "--no-password")
            done = subprocess.run([*psql, "-c", "select mark from pando.mailbox"], check=True, stdout=subprocess.PIPE,
                                  text=True)
            marks = done.stdout.split()
            assert len(set(marks)) == 3 and all(re.fullmatch("[0-9a-f]{32}", mark) for mark in marks), marks
        finally:
            shutil.rmtree(folder)
            sql(c, "drop database older")
