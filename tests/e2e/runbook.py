"""Chapters of docs/operating.md as tests follow them: what a test runs or waits for must stand there, word for word."""

import os
import re
import shlex
import subprocess

import demo

OPERATING = os.path.join(demo.TOP, "docs", "operating.md")


class Runbook:
    def __init__(self, cluster, chapter):
        text = open(OPERATING, encoding="utf-8").read()
        found = re.search(rf"^## {re.escape(chapter)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        assert found, f"docs/operating.md has no chapter {chapter}"
        self.cluster, self.chapter = cluster, chapter
        self.words = " ".join(found.group(1).split())

    def says(self, *words):
        """The chapter has these words, however its lines are broken."""
        for word in words:
            assert word in self.words, f"docs/operating.md, {self.chapter}, does not say: {word}"

    def command(self, line, code=0, more=(), **names):
        """Runs a `pando ...` of the chapter and gives what it printed. Names of its examples are put in the place of this
        cluster's; `more` is what a person would be asked for at a terminal."""
        self.says(line)
        arguments = [names.get(re.sub(r"\W", "_", word), word) for word in shlex.split(line)[1:]] + list(more)
        done = subprocess.run([demo.PANDO, "--config", self.cluster.conf, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120)
        assert code is None or done.returncode == code, f"{line}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr
