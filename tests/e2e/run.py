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

# What the long files take beside each other on two cores, measured: by it they are dealt to lanes. All others are short.
SECONDS = {
    "4_trouble": 60, "5_decisions": 130, "5_failover": 50, "5_two_directories": 50, "6_copies": 90, "6_crashes": 50, "6_disks": 40,
    "6_drain": 120, "6_power": 30, "6_restarts": 170, "6_runbooks": 120, "6_salvage": 140, "6_staged": 120, "7_scrub": 120,
    "7_space": 80, "7_staged_directory": 70, "7_staged_keys": 40, "7_staged_disks": 40, "7_staged_logs": 50, "8_backup": 200, "8_queue": 80,
    "8_recover": 50, "8_restore": 210, "8_restore_volume": 140,
}
FEW_SECONDS = 15


def deal(names, lanes):
    """Which lane each file runs in: the longest first, each to the lane that has least until then."""
    taken, lane = [0] * lanes, {}
    for name in sorted(names, key=lambda name: (-SECONDS.get(name[5:], FEW_SECONDS), name)):
        lane[name] = taken.index(min(taken)) + 1
        taken[lane[name] - 1] += SECONDS.get(name[5:], FEW_SECONDS)
    return lane


def load_tests(match, quick, begin="", lane=(1, 1)):
    has_begun = not begin
    names = [os.path.basename(path)[:-3] for path in sorted(glob.glob(os.path.join(HERE, "test_*.py")))]
    modules = [importlib.import_module(name) for name in names]
    if quick:
        modules = [module for module in modules if not getattr(module, "SLOW", False)]
    dealt = deal([module.__name__ for module in modules], lane[1])
    for module in modules:
        for name, function in list(vars(module).items()):
            full = f"{module.__name__}.{name}"
            has_begun = has_begun or (name.startswith("test_") and begin in full)
            if name.startswith("test_") and match in full and has_begun and dealt[module.__name__] == lane[0]:
                yield f"{module.__name__[5:]}: {name[5:].replace('_', ' ')}", function


def one_of_lanes(text):
    number, lanes = (int(word) for word in text.split("/"))
    if not 1 <= number <= lanes:
        raise ValueError
    return number, lanes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--match", default="")
    parser.add_argument("--from", dest="begin", default="", help="the first whose name holds this, and all behind it")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--lane", type=one_of_lanes, default=(1, 1), metavar="N/LANES",
                        help="the files that are dealt to this lane, on a cluster of its own; others run beside it")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    options = parser.parse_args()
    tests = list(load_tests(options.match, options.quick, options.begin, options.lane))
    if not tests:
        print("0 passed, 0 failed")
        return 0
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
