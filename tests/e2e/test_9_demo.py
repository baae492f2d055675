"""`deploy/demo` as scripts use it: every step twice, and what it says when something is in the way."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile

import demo
import world


def run_demo(code, *arguments):
    done = subprocess.run([sys.executable, os.path.join(demo.TOP, "deploy/demo.py"), *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={**os.environ, "PANDO_BUILD": demo.BUILD}, timeout=120)
    assert done.returncode == code, (arguments, done.returncode, done.stdout)
    return done.stdout


def test_a_wrong_step_builds_nothing(c):
    environment = {name: value for name, value in os.environ.items() if name != "PANDO_BUILD"}
    for code, *arguments in ((2, "frob"), (0, "up", "--help"), (0, "-h")):
        done = subprocess.run([os.path.join(demo.TOP, "deploy/demo"), *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=environment, timeout=120)
        assert done.returncode == code and "usage: demo" in done.stdout, (arguments, done)
        assert "building" not in done.stdout, done.stdout


def test_demo_steps_may_be_repeated(c):
    shift = world.free_offset()
    with tempfile.TemporaryDirectory(prefix="pando demo ", dir="/var/tmp") as top:
        os.chmod(top, 0o755)
        folder = os.path.join(top, "d")
        at = ("--dir", folder)
        up = ("up", *at, "--offset", str(shift), "--nodes", "1")
        assert "there is no demo" in run_demo(0, "down", *at)
        assert "`deploy/demo up` makes one" in run_demo(1, "status", *at)
        for host in ("127.0.0.1", "::1"):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    taken.bind((host, 3993 + shift))
                except OSError:
                    continue  # a machine without IPv6
                taken.listen(1)
                assert f"port {3993 + shift} is in use" in run_demo(1, *up) and not os.path.exists(folder)
        try:
            for _ in range(2):
                said = run_demo(0, *up)
                conf = re.search(r"^PANDO_CONF=(.*)$", said, re.M).group(1)
                assert conf == os.path.join(folder, "pando.conf")
            mailboxes = json.loads(demo.run(demo.PANDO, "--config", conf, "mailbox", "list", "--json"))
            assert [m["address"] for m in mailboxes] == [f"u{i:04d}@example.org" for i in range(1, 101)]
            assert {m["site"] for m in mailboxes} == {"site-a"}
            assert "there is no nowhere: site-a, site-b" in run_demo(1, "kill", "nowhere", *at)
            for _ in range(2):
                run_demo(0, "kill", "site-b", *at)
                assert run_demo(0, "status", *at).count("  down\n") == 3
            for _ in range(2):
                run_demo(0, "start", "site-b", *at)
                socket.create_connection(("127.0.0.1", 3025 + shift), 5).close()
            assert "  down\n" not in run_demo(0, "status", *at)
        finally:
            run_demo(0, "down", *at)
            world.let_go_of_ports(shift)
        assert not os.path.exists(folder)
        for usage in (("up", "--nodes", "0"), ("up", "--offset", "70000"), ("kill",), ("frob",)):
            run_demo(2, *usage)
