"""fail2ban, with nothing to do but to see a line and to make a file."""

import atexit
import os
import pathlib
import signal
import subprocess
import sys
import time

BACKENDS = ("pyinotify", "polling")
PATIENCE_SECONDS = 60


class Fail2ban:
    """An instance of its own: a jail for each backend, each with a log of its own. One line is enough, and
    the action does not reload anything."""

    def __init__(self, folder):
        self.folder, self.socket = folder, folder / "socket"
        for name in ("filter.d", "action.d", *(f"banned-{name}" for name in BACKENDS)):
            (folder / name).mkdir(parents=True)
        (folder / "fail2ban.conf").write_text(
            f"[DEFAULT]\nloglevel = NOTICE\nlogtarget = {folder}/said\nsyslogsocket = auto\nsocket = {self.socket}\n"
            f"pidfile = {folder}/pid\ndbfile = None\ndbpurgeage = 1d\n[Definition]\n[Thread]\n")
        (folder / "filter.d" / "spent.conf").write_text(
            "[Definition]\nfailregex = ^\\s*<HOST> has spent it$\nignoreregex =\n")
        (folder / "action.d" / "touch.conf").write_text(
            "[Definition]\nactionstart =\nactionstop =\nactioncheck =\nactionunban =\n"
            "actionban = touch <folder>/<ip>\n")
        jails = "[DEFAULT]\nusedns = no\nbantime = 3600\nfindtime = 600\nmaxretry = 1\n"
        for name in BACKENDS:
            (folder / f"{name}.log").touch()
            jails += (f"[{name}]\nenabled = true\nbackend = {name}\nfilter = spent\nlogpath = {folder}/{name}.log\n"
                      f"action = touch[folder={folder}/banned-{name}]\n")
        (folder / "jail.conf").write_text(jails)
        command = ["/usr/bin/fail2ban-server", "-f", "-c", folder, "-s", self.socket, "-p", folder / "pid", "start"]
        with open(folder / "output", "w") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        atexit.register(self.stop)
        self.logs = {name: os.open(folder / f"{name}.log", os.O_WRONLY | os.O_APPEND) for name in BACKENDS}
        began = time.monotonic()
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
                sys.exit(f"fail2ban does not run: {self.said()}")
            time.sleep(0.1)

    def answers(self):
        """Whether both jails run."""
        command = ["/usr/bin/fail2ban-client", "-c", self.folder, "-s", self.socket, "status"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return all(name in done.stdout for name in BACKENDS)

    def said(self):
        paths = (self.folder / "output", self.folder / "said")
        return "".join(path.read_text() for path in paths if pathlib.Path(path).exists())

    def trial(self, number):
        """Seconds from a line until the file is there, by backend; both go on at once."""
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        began = {}
        for name, log in self.logs.items():
            os.write(log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {address} has spent it\n".encode())
            began[name] = time.monotonic()
        took = {}
        while len(took) < len(began):
            for name in began.keys() - took.keys():
                if os.path.exists(self.folder / f"banned-{name}" / address):
                    took[name] = time.monotonic() - began[name]
            if time.monotonic() - max(began.values()) > PATIENCE_SECONDS:
                sys.exit(f"fail2ban does not ban: {self.said()}")
            time.sleep(0.001)
        return took

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
