#!/usr/bin/python3
"""End-to-end tests: real processes, a real PostgreSQL, other people's clients.

One cluster of two sites serves all tests of a file in turn; a test that breaks something heals it. The
last line is `N passed, N failed`."""

import argparse
import glob
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import world  # noqa: E402



def load_tests(match, quick, begin=""):
    has_begun = not begin
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        if quick and getattr(module, "SLOW", False):
            continue
        for name, function in list(vars(module).items()):
            full = f"{module.__name__}.{name}"
            has_begun = has_begun or (name.startswith("test_") and begin in full)
            if name.startswith("test_") and match in full and has_begun:
                yield f"{module.__name__[5:]}: {name[5:].replace('_', ' ')}", function


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--match", default="")
    parser.add_argument("--from", dest="begin", default="", help="the first whose name holds this, and all behind it")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    options = parser.parse_args()
    tests = list(load_tests(options.match, options.quick, options.begin))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    passed = failed = 0
    folder = tempfile.mkdtemp(prefix="pando-e2e-", dir="/var/tmp")
    # The postgres account passes through.
    os.chmod(folder, 0o755)
    cluster = world.World(folder, world.OFFSET)
    try:
        cluster.create(["site-a", "site-b"], 2)
        cluster.start()
        cluster.wait_serving()
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print("FAILED the cluster does not come up")
        print(f"0 passed, {len(tests)} failed")
        end(cluster)
        return 1
    try:
        for name, function in tests:
            start = time.monotonic()
            try:
                function(cluster)
                passed += 1
                print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {name}", flush=True)
                traceback.print_exc(file=sys.stdout)
                try:
                    cluster.heal()
                except Exception as error:
                    print(f"        and the cluster did not heal: {error}")
    except BaseException:
        # Interrupted: nothing is left running.
        end(cluster)
        raise
    if options.keep or failed:
        print(f"logs are in {folder}")
    if not options.keep:
        end(cluster)
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def end(cluster):
    try:
        cluster.stop(9)
        cluster.postgres_stop("immediate")
    except Exception as error:
        print(f"cluster did not end: {error}")


sys.exit(main())
