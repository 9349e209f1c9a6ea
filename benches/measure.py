"""What the benchmarks share: running a command in alternation with others, and telling what it took."""

import argparse
import collections
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
# How often the memory of a process is looked at, where the kernel keeps no peak of it.
SAMPLE_SECONDS = 0.002

# `cpu`: user and system time, of all its threads. `anon_kib` is 0 where it was not asked for. `said`: its
# standard output, where it was asked for.
Run = collections.namedtuple("Run", "wall cpu rss_kib anon_kib said")


def measure(command, keep_output=False, sample_memory=False):
    """Runs to the end; what the kernel says that it took. Leaves the script where the command fails.

    A peak of `rss_kib` is at least this script's own, from before it became the command."""
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryFile() as said:
        output = said if keep_output else subprocess.DEVNULL
        began = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints)
        sampler = Sampler(child.pid) if sample_memory else None
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            complaints.seek(0)
            sys.exit(f"{' '.join(map(str, command))}: exit {child.returncode}\n"
                     + complaints.read().decode(errors="replace"))
        said.seek(0)
        anon = sampler.stop() if sampler else 0
        return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss, anon, said.read())


class Sampler:
    """The largest anonymous memory that a process was seen with: the kernel keeps no peak of it."""

    def __init__(self, pid):
        self.path, self.peak, self.done = f"/proc/{pid}/status", 0, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        while not self.done.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, memory_kib(self.path)["RssAnon"])

    def stop(self):
        self.done.set()
        self.thread.join()
        return self.peak


def memory_kib(status):
    """`VmHWM`, `VmRSS` and `RssAnon` of a process; zeros when it is gone."""
    found = collections.defaultdict(int)
    try:
        for line in pathlib.Path(status).read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmHWM", "VmRSS", "RssAnon"):
                found[name] = int(value.split()[0])
    except OSError:
        pass
    return found


def cpu_seconds(pid):
    """User and system time of all threads, to the nanosecond."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def alternate(rounds, commands, **how):
    """Each command once in each round. `commands`: by name, what makes the command. The runs, by name."""
    runs = {name: [] for name in commands}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for name, command in commands.items():
            runs[name].append(measure(command(), **how))
    return runs


def median(runs):
    """Of each figure on its own; the output is that of the last run."""
    figures = [statistics.median(column) for column in zip(*(run[:-1] for run in runs))]
    return Run(*figures, runs[-1].said)


def table(columns, rows):
    """Markdown; the first column is text, the others are numbers."""
    print("| " + " | ".join(columns) + " |")
    print("|---" + "|---:" * (len(columns) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def setting(options, lines=None):
    """What the figures of a table are of."""
    rounds = "one round" if options.rounds == 1 else f"medians of {options.rounds} rounds"
    return f"{lines or options.lines:,} lines, {rounds}; {os.cpu_count()} cores, {cpu_model()}."


def cpu_model():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def tollkeeper(given):
    """The binary that was named, or the one of this tree, built."""
    if given:
        return str(pathlib.Path(given).resolve())
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=HERE.parent, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
    return str(target / "release" / "tollkeeper")


def need(**packages):
    """Stops where a command is missing, and says what has it: `need(xz="xz-utils")`."""
    missing = [package for command, package in packages.items() if not shutil.which(command)]
    if missing:
        sys.exit(f"missing; to install: apt-get install {' '.join(sorted(set(missing)))}")


def generate(output, lines, *more):
    """A log, which lies in the page cache then."""
    print(f"making {lines} lines: {pathlib.Path(output).name}", file=sys.stderr)
    subprocess.run([HERE / "generate", "--lines", str(lines), *more, "--output", output], check=True)
    return str(output)


def options(description, lines=1_000_000, rounds=5):
    """A parser with the options that all benchmarks have. No `rounds`: it does not measure time."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--lines", type=int, default=lines)
    if rounds:
        parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--tollkeeper", help="a binary; built from this tree if not given")
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder")
    return parser


class Folder:
    """A temporary folder (obeys TMPDIR), deleted at the end unless it is to be kept."""

    def __init__(self, keep):
        self.keep = keep

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="tollkeeper-bench-"))
        return self.path

    def __exit__(self, *_):
        if self.keep:
            print(f"kept: {self.path}", file=sys.stderr)
        else:
            shutil.rmtree(self.path)
