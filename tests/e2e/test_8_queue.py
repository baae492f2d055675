"""Copies of queued messages at another site."""

import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import time

from world import make_message, unmount, user, wait_for

SLOW = True  # a holder waits 10 seconds for the owner before it takes over


def away(c, name):
    """The home's node stops; its volumes stay where they are."""
    node = c.daemon(f"{c.home(name)['home']}/node")
    node.stop(signal.SIGKILL)
    return node


def queued(c, router=None):
    """{id: owner} of all that waits, at one router or at all."""
    return {(m["router"], m["id"]): m["owner"] for m in c.pando_json("queue", "list", check=False)
            if router in (None, m["router"])}


def test_queued_message_has_a_copy_at_the_other_site_before_250(c):
    name = user(58)
    node = away(c, name)
    subject = c.send("site-a", name)
    owners = queued(c)
    ids = {id for _, id in owners}
    assert len(owners) == 2 and len(ids) == 1, owners
    assert sorted(owners.values()) == ["", "router-a"], owners
    risks = [m for m in c.pando_json("at-risk", check=False) if m["delivery_id"] in ids]
    assert not risks, risks
    node.start()
    c.wait_mail(name, subject)
    wait_for("both queues to be empty", 10, lambda: not queued(c))
    assert c.subjects(name).count(subject) == 1


def test_copy_is_delivered_when_its_owner_is_gone_and_once_only(c):
    name = user(59)
    node = away(c, name)
    subject = c.send("site-a", name)
    owner = c.daemon("router-a/router")
    owner.stop(signal.SIGKILL)
    node.start()
    c.wait_mail(name, subject, "site-b", seconds=40)
    wait_for("the copy to be gone", 10, lambda: not queued(c, "router-b"))
    # The owner comes back and has it in its queue still: the home knows the delivery id.
    owner.start()
    wait_for("the owner's queue to be empty", 20, lambda: c.pando_json("status") and not queued(c))
    time.sleep(0.5)
    assert c.subjects(name, "site-b").count(subject) == 1


def test_message_without_a_copy_is_listed_as_at_risk(c):
    name = user(60)
    other = c.daemon("router-b/router")
    other.stop(signal.SIGKILL)
    node = away(c, name)
    subject = c.send("site-a", name)
    ids = {id for _, id in queued(c, "router-a")}
    assert len(ids) == 1, ids
    assert any(m["delivery_id"] in ids for m in c.pando_json("at-risk", check=False))
    # A copy is made as soon as somebody takes it.
    other.start()
    wait_for("a copy", 30, lambda: not any(m["delivery_id"] in ids
                                           for m in c.pando_json("at-risk", check=False)))
    node.start()
    c.wait_mail(name, subject)
    wait_for("both queues to be empty", 20, lambda: not queued(c))


def test_home_that_hangs_is_queued_for_and_gets_each_message_once(c):
    """It takes connections and says nothing; the router is killed meanwhile with all that waits."""
    name = user(61)
    home = c.daemon(f"{c.home(name)['home']}/node")
    router = c.daemon("router-a/router")
    subjects = []
    home.send(signal.SIGSTOP)
    try:
        subjects.append(c.send("site-a", name))
        with c.smtp("site-a") as smtp:
            for _ in range(200):
                subjects.append(c.unique("hang"))
                assert not smtp.sendmail("s@example.net", [name], make_message(subjects[-1], 2000))
        assert len(queued(c, "router-a")) == len(subjects)
        router.stop(signal.SIGKILL)
        router.start()
        wait_for("the router", 10, lambda: queued(c, "router-a"))
        assert len(queued(c, "router-a")) == len(subjects)
    finally:
        home.send(signal.SIGCONT)
    c.wait_mail(name, subjects[-1], seconds=30)
    wait_for("both queues to be empty", 30, lambda: not queued(c))
    found = c.subjects(name)
    assert all(found.count(subject) == 1 for subject in subjects)


def test_full_disk_refuses_with_452_and_loses_nothing(c):
    """A queue on a small disk of its own."""
    if os.getuid() != 0:
        return  # only root can make a small disk
    name = user(62)
    home = c.daemon(f"{c.home(name)['home']}/node")
    router = c.daemon("router-a/router")
    folder = os.path.join(c.folder, "site-a", "router-a", "data", "router", "queue")
    accepted, code = [], 0
    router.stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", folder], check=True)
    try:
        router.start()
        home.stop(signal.SIGKILL)
        wait_for("the router", 10, lambda: c.raw().greeting[0] == 220)
        with c.smtp("site-a") as smtp:
            smtp.ehlo()
            while code != 452:
                subject = c.unique("full")
                smtp.mail("s@example.net")
                smtp.rcpt(name)
                code, text = smtp.data(make_message(subject, 2000000))
                assert code in (250, 452), (code, text)
                if code == 250:
                    accepted.append(subject)
                assert len(accepted) < 100
        assert len(accepted) > 5, accepted
        router.stop(signal.SIGKILL)
        router.start()
        home.start()
        c.wait_mail(name, accepted[-1], seconds=40)
        wait_for("both queues to be empty", 30, lambda: not queued(c))
        found = c.subjects(name)
        assert all(found.count(subject) == 1 for subject in accepted)
        # What has gone has left its room.
        home.stop(signal.SIGKILL)
        again = c.send("site-a", name)
        home.start()
        c.wait_mail(name, again, seconds=40)
        wait_for("both queues to be empty", 30, lambda: not queued(c))
    finally:
        router.stop()
        unmount(folder)
        c.heal()



def queue_folder(c, router="router-a"):
    return os.path.join(c.folder, f"site-{router[-1]}", router, "data", "router", "queue")


def copies(c, router="router-b"):
    return {m["id"]: m for m in c.pando_json("queue", "list", check=False) if m["router"] == router}


def said(daemon, event):
    with open(daemon.log) as file:
        return sum(event in line for line in file)


def flip(folder, word):
    """One byte of a queued message, behind the word, in whichever segment it stands."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if not name.endswith(".log"):
            continue
        with open(path, "rb") as file:
            place = file.read().find(word.encode())
        if place >= 0:
            with open(path, "r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1]))
            return
    raise AssertionError(f"{word} does not stand in {folder}")


def expect_once(c, name, subjects, seconds=40):
    for subject in subjects:
        c.wait_mail(name, subject, seconds=seconds)
    wait_for("both queues to be empty", 40, lambda: not queued(c))
    found = c.subjects(name)
    assert all(found.count(subject) == 1 for subject in subjects), found


def test_runbook_the_queues_disk_was_replaced(c):
    """docs/operating.md: everything that was acknowledged is delivered once."""
    name = user(63)
    router = c.daemon("router-a/router")
    node = away(c, name)
    subjects = [c.send("site-a", name) for _ in range(6)]
    ids = {id for _, id in queued(c, "router-a")}
    assert len(ids) == 6 and set(copies(c)) == ids
    router.stop(signal.SIGKILL)
    shutil.rmtree(queue_folder(c))
    router.start()
    # The holder hears "never heard of", and says so, instead of forgetting its copies.
    wait_for("the copies to be adopted", 30,
             lambda: [m["role"] for m in copies(c).values()].count("adopted") == 6)
    assert said(c.daemon("router-b/router"), "queue_adopted") >= 6
    node.start()
    expect_once(c, name, subjects)


def test_queue_that_was_rolled_back_loses_and_doubles_nothing(c):
    name = user(63)
    router = c.daemon("router-a/router")
    folder, kept = queue_folder(c), queue_folder(c) + ".kept"
    node = away(c, name)
    subjects = [c.send("site-a", name) for _ in range(2)]
    router.stop(signal.SIGKILL)
    shutil.copytree(folder, kept)
    router.start()
    wait_for("the router", 10, lambda: c.raw().greeting[0] == 220)
    subjects += [c.send("site-a", name) for _ in range(3)]
    router.stop(signal.SIGKILL)
    shutil.rmtree(folder)
    os.rename(kept, folder)
    router.start()
    wait_for("what is missing to be adopted", 30,
             lambda: [m["role"] for m in copies(c).values()].count("adopted") == 3)
    node.start()
    expect_once(c, name, subjects)


def test_flipped_byte_of_a_waiting_message_is_mended_from_the_copy(c):
    name = user(64)
    router = c.daemon("router-a/router")
    node = away(c, name)
    subject = c.send("site-a", name, size=3000)
    assert len(copies(c)) == 1
    before = said(router, "queue_mended")
    flip(queue_folder(c), subject)
    node.start()
    expect_once(c, name, [subject])
    assert said(router, "queue_mended") == before + 1


def test_flipped_byte_without_a_copy_is_bounced_and_said(c):
    name, sender = user(65), user(66)
    router, other = c.daemon("router-a/router"), c.daemon("router-b/router")
    subject, bounces = c.unique("lost"), len(c.subjects(sender))
    other.stop(signal.SIGKILL)
    node = away(c, name)
    with c.smtp("site-a") as smtp:
        assert not smtp.sendmail(sender, [name], make_message(subject, 3000))
    before = said(router, "queue_message_lost")
    flip(queue_folder(c), subject)
    # A copy may have been left before the other router went: it is asked first.
    other.start()
    wait_for("the loss to be said", 30, lambda: said(router, "queue_message_lost") == before + 1)
    node.start()
    c.wait_nodes()
    c.wait_serving()
    wait_for("a bounce", 30, lambda: len(c.subjects(sender)) == bounces + 1)
    wait_for("both queues to be empty", 40, lambda: not queued(c))


def test_damaged_queue_opens_the_door_and_loses_nothing(c):
    """A flipped byte in the middle is met at the start: the rest is served, the copy fills the hole."""
    name = user(67)
    router = c.daemon("router-a/router")
    node = away(c, name)
    subjects = [c.send("site-a", name, size=3000) for _ in range(5)]
    ids = {id for _, id in queued(c, "router-a")}
    assert set(copies(c)) == ids
    before = said(router, "queue_damaged ")
    router.stop(signal.SIGKILL)
    flip(queue_folder(c), subjects[2])
    router.start()
    wait_for("the door", 10, lambda: c.raw().greeting[0] == 220)
    assert said(router, "queue_damaged ") == before + 1
    wait_for("all but one", 10, lambda: len(queued(c, "router-a")) == 4)
    subjects.append(c.send("site-a", name))
    node.start()
    expect_once(c, name, subjects)
    wait_for("what was set aside to be served", 10,
             lambda: any(entry.startswith("kept-") for entry in os.listdir(queue_folder(c))))


def test_holder_that_lost_its_copies_gets_them_again(c):
    name = user(68)
    other = c.daemon("router-b/router")
    node = away(c, name)
    subjects = [c.send("site-a", name) for _ in range(3)]
    ids = {id for _, id in queued(c, "router-a")}
    assert set(copies(c)) == ids
    other.stop(signal.SIGKILL)
    shutil.rmtree(queue_folder(c, "router-b"))
    other.start()
    wait_for("the copies to be there again", 30, lambda: set(copies(c)) == ids)
    wait_for("nothing to be at risk", 10, lambda: not any(
        m["delivery_id"] in ids for m in c.pando_json("at-risk", check=False)))
    node.start()
    expect_once(c, name, subjects)


def test_queue_that_starts_on_a_full_disk_comes_back_when_there_is_room(c):
    if os.getuid() != 0:
        return  # only root can make a small disk
    name, living = user(69), user(70)
    while c.home(living)["home"] == c.home(name)["home"]:
        living = user(int(living[4:].split("@")[0]) + 1)
    router, folder = c.daemon("router-a/router"), queue_folder(c)
    router.stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        with open(os.path.join(folder, "filler"), "wb") as file:
            file.write(bytes(1 << 20))
    except OSError:
        pass
    node = away(c, name)
    try:
        router.start()
        wait_for("the door", 10, lambda: c.raw().greeting[0] == 220)
        c.wait_mail(living, c.send("site-a", living))
        with c.smtp("site-a") as smtp:
            smtp.ehlo()
            smtp.mail("s@example.net")
            smtp.rcpt(name)
            code, text = smtp.data(make_message(c.unique("refused")))
            assert code in (451, 452), (code, text)
        assert said(router, "queue_full") + said(router, "queue_refuses") > 0
        wait_for("check to name it", 5, lambda: any(
            row["what"] == "router router-a" and row["result"] == "FAILED" and "its queue takes nothing" in row["detail"]
            for row in c.pando_json("check", check=False)))
        os.remove(os.path.join(folder, "filler"))
        subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)

        def is_taken():
            with c.smtp("site-a") as smtp:
                subject = c.unique("room")
                try:
                    smtp.sendmail("s@example.net", [name], make_message(subject))
                except smtplib.SMTPException:
                    return None
                return subject
        taken = []
        wait_for("the queue to be open again", 30, lambda: taken.append(is_taken()) or taken[-1])
        node.start()
        expect_once(c, name, taken[-1:])
    finally:
        router.stop()
        unmount(folder)
        c.heal()


def peer(c, name="router-a", to="site-b"):
    """A connection to a router's queue, as the other router would make it."""
    context = ssl.create_default_context(cafile=f"{c.folder}/authority.pem")
    context.check_hostname = False
    context.load_cert_chain(f"{c.tls}/{name}-router.pem", f"{c.tls}/{name}-router.key")
    raw = socket.create_connection(("127.0.0.1", c.router_queue(to)), 10)
    return context.wrap_socket(raw)


def lines(stream, count):
    text = b""
    while text.count(b"\r\n") < count:
        piece = stream.recv(4096)
        assert piece, text
        text += piece
    return [line.decode() for line in text.split(b"\r\n")[:-1]]


def test_two_queues_under_one_name_are_noticed_and_named(c):
    other = c.daemon("router-b/router")
    c.daemon("router-a/router").stop()
    try:
        before = said(other, "queue_identity_doubled")
        first, second, copied = (peer(c) for _ in range(3))
        first.sendall(b"QUEUE " + b"1" * 32 + b" " + b"a" * 32 + b"\r\n")
        assert lines(first, 1)[0].startswith("250")
        second.sendall(b"QUEUE " + b"2" * 32 + b" " + b"b" * 32 + b"\r\n")
        assert lines(second, 1)[0].startswith("553")
        # A machine that was copied has the same queue and is another process.
        copied.sendall(b"QUEUE " + b"1" * 32 + b" " + b"c" * 32 + b"\r\n")
        assert lines(copied, 1)[0].startswith("553")
        assert said(other, "queue_identity_doubled") == before + 2
        # Nothing is held for, released or asked by who has not been taken.
        second.sendall(b"RELEASE " + b"0" * 32 + b"\r\n")
        assert second.recv(100) == b""
        # Never heard of is not finished.
        first.sendall(b"HAVE " + b"1" * 32 + b" " + b"0" * 32 + b"\r\n")
        assert lines(first, 1)[0].startswith("550")
        for stream in (first, second, copied):
            stream.close()
    finally:
        c.heal()


def test_replies_between_routers_keep_the_order_of_their_commands(c):
    c.daemon("router-a/router").stop()
    try:
        stream = peer(c)
        text = lambda word: len(word).to_bytes(2, "little") + word
        record = lambda id, body: (bytes([2, 1]) + id + bytes(8) + bytes([0, 0]) + text(b"") + bytes(16) + b"\0" +
                                   text(b"s@example.net") + text(b"") + body.to_bytes(4, "little") + bytes(4))
        id = os.urandom(16)
        good, bad = record(id, 2000000), b"nothing"
        stream.sendall(b"QUEUE " + b"1" * 32 + b" " + b"a" * 32 + b"\r\n" +
                       b"HOLD %s %d 2000000\r\n" % (id.hex().encode(), len(good)) + good + bytes(2000000) +
                       b"HOLD %s %d 3\r\n" % (b"3" * 32, len(bad)) + bad + b"abc" +
                       b"HELD %s\r\n" % id.hex().encode())
        assert [line[:3] for line in lines(stream, 4)] == ["250", "250", "451", "250"]
        # Only who has left it may release it: until it is durably gone the answer is "not yet".
        wait_for("the copy to be released", 10, lambda: stream.sendall(
            b"RELEASE %s\r\n" % id.hex().encode()) or lines(stream, 1)[0].startswith("250"))
        stream.close()
    finally:
        c.heal()
        wait_for("both queues to be empty", 20, lambda: not queued(c))
