#!/usr/bin/python3
"""Builds Pando (plain with werror, sanitized, for fuzzing) and runs every test; see CONTRIBUTING.md.

--quick leaves out the sanitized build, the fuzz targets and the end-to-end tests that kill processes under load.
Every program under test prints `N passed, N failed[, N skipped]` last; one that ends otherwise counts as
a failure."""

import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Enough for every branch that a small input reaches; a real run takes hours.
FUZZ_SECONDS = 8
FUZZ_SEED = 1
# Of the simulation, the same in every run, and the most that may run beside each other: two minutes on two cores.
SIMULATION_SEEDS = 200
SIMULATION_PROCESSES = 2
# Of the end-to-end tests, each with a cluster of its own: they wait more than they compute.
LANES = 2
SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
# What names a failure in a program's output, and the line behind it that says why (an exception of Python's, our own
# processes'); the most that is repeated at the end, where a reader of a long log looks first.
FAILURE = re.compile(r"^(?:FAIL|FAILED) +(.+)$|^(\S*(?:Error|Failure|Exception): .*)$", re.M)
REPEATED_MAX = 20
# For a program that took too long to stop what it has started.
ENDING_SECONDS = 60
# Sanitizers find what they find on the first meeting: fail at once, with the line.
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def add(self, name, passed, failed, skipped=0, output=""):
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped
        if failed:
            self.failures.append(name)
            self.failures += ["  " + (what or why) for what, why in FAILURE.findall(output)[:REPEATED_MAX]]


def say(text):
    print(text, flush=True)


def end_program(process):
    """What it has printed. It is asked first: daemons that it has started are of other groups, and its to end."""
    process.terminate()
    try:
        return process.communicate(timeout=ENDING_SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


def run_program(totals, name, command, timeout, environment=None):
    """Counts what its last summary says; returns all that it printed."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               env={**os.environ, **(environment or {})}, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=timeout)
        ending = f"exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        ending = f"not done after {timeout} s"
        output = end_program(process)
    found = SUMMARY.findall(output)
    passed, failed, skipped = (int(n or 0) for n in found[-1]) if found else (0, 0, 0)
    if process.returncode != 0 and failed == 0:
        failed = 1
    elif not found:
        # A program that only says by its exit code whether it passed.
        passed = 1
    totals.add(name, passed, failed, skipped, output)
    seconds = time.monotonic() - start
    say(f"   {name}: {passed} passed, {failed} failed{f', {skipped} skipped' if skipped else ''} ({seconds:.1f} s)")
    if failed:
        say("\n".join("      | " + line for line in output.splitlines()[-60:]))
        say(f"      | {ending}")
    return output


def build(totals, folder, options):
    """True when it builds without a warning (werror)."""
    say(f"== building {os.path.basename(folder)}")
    if os.path.exists(os.path.join(folder, "build.ninja")):
        steps = [["meson", "setup", "--reconfigure", folder, TOP, *options]]
    else:
        steps = [["meson", "setup", folder, TOP, *options]]
    steps.append(["ninja", "-C", folder])
    for step in steps:
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            say(done.stdout[-6000:])
            totals.add(f"build of {os.path.basename(folder)}", 0, 1)
            return False
    totals.add(folder, 1, 0)
    return True


def run_meson_tests(totals, folder, environment, slow_factor=1):
    """Every program that the build files register: unit, replay, simulation, fuzz."""
    listed = subprocess.run(["meson", "introspect", "--tests", folder], stdout=subprocess.PIPE, text=True, check=True)
    for test in json.loads(listed.stdout):
        extra = {**test.get("env", {}), **environment}
        run_program(totals, test["name"], test["cmd"], test["timeout"] * slow_factor, extra)


def run_simulation(totals, folder, seeds, first):
    """Side by side, each with seeds of its own. Each prints what it has tried and checked at its end; the sums of the
    checks are said here, so that one that never came to anything is seen."""
    counts, shares = {}, [seeds * n // SIMULATION_PROCESSES for n in range(SIMULATION_PROCESSES + 1)]

    def one(n):
        begin, count = first + shares[n], shares[n + 1] - shares[n]
        command = [os.path.join(folder, "tests/sim/simulation"), "--seeds", str(count), "--first", str(begin)]
        # Half a second each; ten times that on a machine that is busy.
        output = run_program(totals, f"simulation of seeds {begin} to {begin + count - 1}", command, 300 + 5 * count)
        return re.findall(r"^ +(\d+)  (\d+ .+)$", output.partition("\nchecked\n")[2], re.M)
    with concurrent.futures.ThreadPoolExecutor(SIMULATION_PROCESSES) as pool:
        for found in pool.map(one, range(SIMULATION_PROCESSES)):
            for count, name in found:
                counts[name] = counts.get(name, 0) + int(count)
    for name in sorted(counts, key=lambda name: int(name.split()[0])):
        say(f"      promise {name}: {counts[name]} times")


def run_lanes(totals, options, environment):
    def one(lane):
        command = [sys.executable, os.path.join(TOP, "tests/e2e/run.py"), "--match", options.match, "--lane", f"{lane}/{LANES}"]
        run_program(totals, f"e2e, lane {lane}", command + (["--quick"] if options.quick else []), 2700, environment)
    with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
        list(pool.map(one, range(1, LANES + 1)))


def build_fuzzers(totals, folder):
    """The names of the libFuzzer programs, or nothing when they do not build."""
    say("== building fuzz targets with clang")
    steps = []
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        steps.append(["meson", "setup", folder, TOP, "-Dfuzz=true", "-Db_lundef=false",
                      "-Dc_args=-fsanitize=fuzzer-no-link,address"])
    names = sorted(name[:-2] for name in os.listdir(os.path.join(TOP, "tests/fuzz")) if name.endswith("_fuzz.c"))
    steps.append(["ninja", "-C", folder, *(f"tests/fuzz/{name}" for name in names)])
    for step in steps:
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, "CC": "clang"})
        if done.returncode != 0:
            say(done.stdout[-6000:])
            totals.add("build of the fuzz targets", 0, 1)
            return []
    return names


def run_fuzzers(totals, folder, names, seconds):
    """Two at a time; what one finds stays beside it. By default each runs for a moment from the same seed, so
    that a change is judged by what it changed; with a number of seconds it explores from a seed of its own."""
    seed = FUZZ_SEED if seconds is None else int.from_bytes(os.urandom(4), "little") or 1
    seconds = FUZZ_SECONDS if seconds is None else seconds

    def one(name):
        where = os.path.join(folder, "tests", "fuzz")
        run_program(totals, name, [os.path.join(where, name), f"-seed={seed}", f"-max_total_time={seconds}",
                                   "-max_len=65536", "-timeout=10", "-rss_limit_mb=1024", "-verbosity=0",
                                   "-print_final_stats=1", f"-artifact_prefix={where}/{name}-"], seconds + 110)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(one, names))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("tidy", "model", "unit", "simulation", "sanitized", "fuzz", "e2e", "chaos"))
    parser.add_argument("--match", default="", help="with --only e2e: tests whose name holds this")
    parser.add_argument("--minutes", type=float, default=5, help="with --only chaos: faults at random for so long")
    parser.add_argument("--seed", help="with --only chaos: the faults of that run, as far as time lets them be")
    parser.add_argument("--seeds", type=int, default=SIMULATION_SEEDS, metavar="N",
                        help="so many seeds of the simulation; 10000 for a night")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="the first of these seeds")
    parser.add_argument("--fuzz-seconds", type=int, metavar="N",
                        help="explore with each fuzz target for N seconds from a new seed")
    options = parser.parse_args()
    totals, start = Totals(), time.monotonic()
    plain, sanitized = os.path.join(TOP, "build-test"), os.path.join(TOP, "build-sanitized")
    wanted = lambda part: options.only in (None, part)

    if wanted("tidy"):
        say("== house rules")
        run_program(totals, "tidy", [sys.executable, os.path.join(TOP, "tests/tidy/check.py")], 60)
    if wanted("model"):
        say("== the model of the protocol")
        run_program(totals, "model", [sys.executable, os.path.join(TOP, "tests/model/run.py")], 900)
    chaos = options.only == "chaos"
    needs_plain = wanted("unit") or wanted("simulation") or wanted("e2e") or chaos
    built = build(totals, plain, ["--werror"]) if needs_plain else False
    if built and wanted("unit"):
        say("== unit tests, replay scripts, scenarios")
        run_meson_tests(totals, plain, {})
    if built and wanted("simulation"):
        say(f"== simulation, {options.seeds} seeds")
        run_simulation(totals, plain, options.seeds, options.first)
    if built and wanted("e2e"):
        say("== end to end")
        run_lanes(totals, options, {"PANDO_BUILD": plain})
    if built and chaos:
        # In our place: it goes on for long, and says what it does.
        os.execve(sys.executable, [sys.executable, os.path.join(TOP, "tests/e2e/chaos.py"), "--minutes",
                                   str(options.minutes), *(["--seed", options.seed] if options.seed else [])],
                  {**os.environ, "PANDO_BUILD": plain})
    if wanted("sanitized") and not options.quick and \
            build(totals, sanitized, ["-Db_sanitize=address,undefined", "-Db_lundef=false"]):
        say("== the same under address and undefined-behaviour sanitizers")
        run_meson_tests(totals, sanitized, SANITIZER_OPTIONS, 4)

    if wanted("fuzz") and not options.quick:
        names = build_fuzzers(totals, os.path.join(TOP, "build-fuzz"))
        say("== fuzz targets")
        run_fuzzers(totals, os.path.join(TOP, "build-fuzz"), names, options.fuzz_seconds)

    for name in totals.failures:
        say(f"FAILED: {name}")
    say(f"took {time.monotonic() - start:.0f} s")
    say(f"{totals.passed} passed, {totals.failed} failed" + (f", {totals.skipped} skipped" if totals.skipped else ""))
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
