"""A daemon to measure: `run` with one log or a folder of logs, and what it has counted so far."""

import atexit
import json
import os
import signal
import subprocess
import sys
import time

import measure

# How often the daemon is asked how far it is: each time costs some 5 ms of a core.
ASK_SECONDS = 0.02
PATIENCE_SECONDS = 600


class Daemon:
    """Runs until it is stopped. `paths`: globs of the logs that it follows."""

    def __init__(self, program, folder, paths, format, state):
        source = f"[[source.file]]\npaths = {json.dumps(paths)}\nformat = [{json.dumps(format)}]\n"
        self.begin(program, folder, source, state)

    @classmethod
    def of(cls, program, folder, config, state):
        """With a config of its own."""
        daemon = cls.__new__(cls)
        daemon.begin(program, folder, config, state)
        return daemon

    def begin(self, program, folder, config, state):
        self.program, self.state, self.config = program, state, folder / "tollkeeper.toml"
        self.config.write_text(f'timezone = "UTC"\n{config}')
        self.said = folder / "said"
        with open(self.said, "w") as said:
            command = [program, "run", "-c", self.config, "--state", state]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said)
        self.pid = self.process.pid
        atexit.register(self.process.kill)  # does nothing to one that is gone

    def counted(self):
        """Lines that it has summed since it began, in the rows or on their way there."""
        command = [self.program, "status", "-c", self.config, "--state", self.state, "--output", "json"]
        done = subprocess.run(command, capture_output=True, check=False)
        try:
            sources = json.loads(done.stdout)["sources"]
        except (ValueError, KeyError):
            return 0  # it is still starting
        return sum(source["balance"]["since_start"]["counted"] for source in sources)

    def wait_for(self, lines):
        began = time.monotonic()
        while self.counted() < lines:
            if self.process.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
                sys.exit(f"the daemon has not counted {lines} lines: {self.said.read_text()}")
            time.sleep(ASK_SECONDS)

    def stop(self):
        """Until all is in the rows and it is gone; what the kernel says that it took in all."""
        self.process.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(self.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode:
            sys.exit(f"the daemon: exit {self.process.returncode}\n{self.said.read_text()}")
        return used

    def rows(self):
        """Requests in the rows."""
        command = [self.program, "report", "--state", self.state, "--by", "day", "--output", "json"]
        report = subprocess.run(command, capture_output=True, check=True)
        return sum(row["requests"] for row in json.loads(report.stdout))


def catch_up(program, folder, log, format, state, lines):
    """A daemon that starts before a log that is there already: until all is counted, stored, and it is gone."""
    began = time.perf_counter()
    daemon = Daemon(program, folder, [log], format, state)
    sampler = measure.Sampler(daemon.pid)
    daemon.wait_for(lines)
    used = daemon.stop()
    wall = time.perf_counter() - began
    if daemon.rows() != lines:
        sys.exit(f"{log}: {lines} lines, {daemon.rows()} in the rows")
    return measure.Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss, sampler.stop(), b"")
