"""Web servers behind a gate: the real ones, with what `tollkeeper snippet` prints, and clients that ask."""

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from daemon import Daemon

PATIENCE_SECONDS = 20
# What spends the quota of a site, and what a client asks for otherwise.
SPEND_BYTES = 150_000
QUOTAS = """
[[quota]]
vhost = "*.t.example"
limit = "100K"
period = "day"
[[quota]]
vhost = "*.o.example"
limit = "1000G"
period = "day"
"""
# Those that the README recommends, and docs/syslog/haproxy.md.
FORMATS = {
    "nginx": """nginx:log_format tk '$msec $status $request_length $bytes_sent $request_time $remote_addr $host """
             """"$remote_user" "$request" "$http_referer" "$http_user_agent"';""",
    "apache": r'apache:LogFormat "%{%Y-%m-%dT%H:%M:%S%z}t %>s %I %O %D %a %v \"%u\" \"%r\" \"%{Referer}i\" '
              r'\"%{User-Agent}i\"" tk',
    "lighttpd": r'lighttpd:accesslog.format = "%{%Y-%m-%dT%H:%M:%S%z}t %s %I %O %D %a %V \"%u\" \"%r\" '
                r'\"%{Referer}i\" \"%{User-Agent}i\""',
    "haproxy": 'haproxy:log-format "%trg %ST %U %B %Ta %ci %hr %{+Q}r"',
}
# What each is told as its own directive.
DIRECTIVES = {name: format.split(":", 1)[1] for name, format in FORMATS.items()}
APACHE_MODULES = ("mpm_event", "authn_core", "authz_core", "dir", "mime", "alias", "setenvif", "env", "headers",
                  "rewrite")


# Trials with Apache have a vhost each.
APACHE_SITES = 1000


def site(number):
    """The site of a trial."""
    return f"n{number}.t.example"


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_until(what, done):
    began = time.monotonic()
    while not (found := done()):
        if time.monotonic() - began > PATIENCE_SECONDS:
            sys.exit(f"in {PATIENCE_SECONDS} s it did not come: {what}")
        time.sleep(0.005)
    return found


class Client:
    """Asks on one connection, again and again; on another one when the server has closed it."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def ask(self, host, path="/"):
        """The status; the whole answer has come."""
        for _ in range(2):
            if not self.connection:
                self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                return self.answer()
            except (ConnectionError, EOFError):
                self.close()
        sys.exit(f"no answer from port {self.port}")

    def answer(self):
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self.more()
        head = got[:end].lower()
        length = int(re.search(rb"\r\ncontent-length: *(\d+)", head).group(1))
        came = len(got) - end - 4
        while came < length:
            came += len(self.more())
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1])

    def more(self):
        got = self.connection.recv(1 << 18)
        if not got:
            raise EOFError
        return got

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def ask_anew(port, host, path="/"):
    """The status, on a connection of its own."""
    client = Client(port)
    status = client.ask(host, path)
    client.close()
    return status


class Server:
    """Runs until it is stopped. `command` comes before the path of the config."""

    def __init__(self, folder, command, config, port):
        self.port, self.said, path = port, folder / "server.said", folder / "server.conf"
        path.write_text(config)
        began = time.monotonic()
        with open(self.said, "w") as said:
            self.process = subprocess.Popen([*command, path], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        atexit.register(self.stop)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionError:
                if self.process.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
                    sys.exit(f"{command[0]} does not run: {self.said.read_text()}")
                time.sleep(0.001)
        # From the start of the process until it has answered.
        ask_anew(port, "open.example")
        self.start_seconds = time.monotonic() - began

    def worker(self):
        """The process that answers."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return next(iter(children.read().split()), pid)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


def prepare(folder):
    """Room for a server, what it serves, its logs and the gate."""
    for name in ("www", "logs", "tmp"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "tmp").chmod(0o777)
    (folder / "www" / "index.html").write_text("served\n")
    (folder / "www" / "spend").write_bytes(b"x" * SPEND_BYTES)
    return folder


def snippet(program, folder, name):
    command = [program, "-c", folder / "tollkeeper.toml", "snippet", name]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def nginx(folder, pasted="", log=True):
    """`pasted`: the two parts as they were printed."""
    at = pasted.find("# 2. ")
    http, server = (pasted[:at], pasted[at:]) if pasted else ("", "")
    port = free_port()
    access = f"{DIRECTIVES['nginx']}\naccess_log {folder}/logs/access.log tk;" if log else "access_log off;"
    temporary = "\n".join(f"{kind}_temp_path {folder}/tmp;"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return Server(folder, ["/usr/sbin/nginx", "-e", folder / "error.log", "-c"], f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
{access}
{temporary}
keepalive_requests 1000000;
{http}
server {{
listen 127.0.0.1:{port};
root {folder}/www;
{server}
location / {{ }}
}}
}}
""", port)


def apache(folder, pasted="", sites=None):
    """With a vhost for each site: `%v`, as it is recommended, is the name of the vhost."""
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in APACHE_MODULES)
    port = free_port()
    vhosts = "\n".join(f"<VirtualHost *:{port}>\nServerName {name}\nDocumentRoot {folder}/www\n"
                       "RewriteEngine On\n</VirtualHost>"
                       for name in ["open.example", *(sites or map(site, range(APACHE_SITES)))])
    return Server(folder, ["/usr/sbin/apache2", "-DFOREGROUND", "-f"], f"""
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ServerName main.example
User www-data
Group www-data
{modules}
TypesConfig /dev/null
DirectoryIndex index.html
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
MinSpareThreads 1
MaxSpareThreads 32
MaxKeepAliveRequests 0
Listen 127.0.0.1:{port}
{DIRECTIVES['apache']}
CustomLog {folder}/logs/access.log tk
{pasted}
{vhosts}
<Directory {folder}/www>
Require all granted
</Directory>
""", port)


def lighttpd(folder, pasted=""):
    """Of the paths that the parts stand under, ours take the place."""
    config, _, script = pasted.partition("-- ---- /etc/lighttpd/tollkeeper.lua ----")
    (folder / "tollkeeper.lua").write_text(script)
    config = config.replace("/etc/lighttpd/tollkeeper.lua", str(folder / "tollkeeper.lua"))
    port = free_port()
    return Server(folder, ["/usr/sbin/lighttpd", "-D", "-f"], f"""
server.document-root = "{folder}/www"
server.errorlog = "{folder}/error.log"
server.bind = "127.0.0.1"
server.port = {port}
server.max-keep-alive-requests = 10000
index-file.names = ( "index.html" )
mimetype.assign = ( "" => "text/plain" )
server.modules += ( "mod_accesslog" )
accesslog.filename = "{folder}/logs/access.log"
{DIRECTIVES['lighttpd']}
{config}
""", port)


def haproxy(folder, pasted, behind, log_port):
    """Before another server; logs to `log_port` by UDP, to nobody if that is `None`."""
    port = free_port()
    log = f"log 127.0.0.1:{log_port} len 65535 format rfc5424 local0" if log_port else ""
    return Server(folder, ["/usr/sbin/haproxy", "-db", "-f"], f"""
global
    nbthread 2
    stats socket {folder}/admin.sock mode 600 level admin
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
frontend web
    bind 127.0.0.1:{port}
    {log}
    capture request header Host len 255
    {DIRECTIVES['haproxy']}
{pasted}
    default_backend served
backend served
    server one 127.0.0.1:{behind}
""", port)


def from_file(folder, name, gate, more=""):
    """A config that follows the log of a server."""
    paths = json.dumps([f"{folder}/logs/*.log"])
    return f"{more}[[source.file]]\npaths = {paths}\nformat = [{json.dumps(FORMATS[name])}]\n{gate}{QUOTAS}"


class Gated:
    """A server and the daemon that closes its gates. `more` stands first in the config."""

    def __init__(self, program, folder, name, more=""):
        self.folder, self.name, self.behind = prepare(folder), name, None
        self.log = None if name == "haproxy" else folder / "logs" / "access.log"
        flags = f'[[gate.{name}]]\nflags = "{folder}/gate"\n'
        if name == "haproxy":
            log_port = free_port(socket.SOCK_DGRAM)
            config = (f'[[source.syslog]]\nname = "haproxy"\nlisten = "udp://127.0.0.1:{log_port}"\n'
                      f'tags = ["haproxy"]\nformat = {json.dumps(FORMATS[name])}\n'
                      f'[[gate.haproxy]]\nmap = "{folder}/gate/haproxy.map"\n'
                      f'sockets = ["{folder}/admin.sock"]\n{QUOTAS}')
        else:
            config = from_file(folder, name, flags, more)
        self.daemon = Daemon.of(program, folder, config, folder / "state")
        pasted = snippet(program, folder, name)
        if name == "haproxy":
            wait_until("HAProxy's map", (folder / "gate" / "haproxy.map").exists)
            self.behind = nginx(prepare(folder / "behind"), log=False)
            self.server = haproxy(folder, pasted, self.behind.port, log_port)
        else:
            self.server = {"nginx": nginx, "apache": apache, "lighttpd": lighttpd}[name](folder, pasted)

    def stop(self):
        self.server.stop()
        if self.behind:
            self.behind.stop()
        os.kill(self.daemon.pid, signal.SIGTERM)
        self.daemon.process.wait()
