"""The shapes of the logs that the benchmarks read: how a line is written, and what to tell tollkeeper.

A new one is a function that writes a line, and an entry in SHAPES; its name in MEASURED adds the row to
benches/formats and the count to benches/instructions.
"""

import collections
import datetime
import json

# `format`: what `--format` takes. `vhost`: for `--vhost`, where the format names none. `line` writes a
# request, without the newline; `head` stands once before all lines.
Shape = collections.namedtuple("Shape", "format line vhost head", defaults=(None, ""))
# One day, as the formats write it; `midnight` in seconds since 1970.
Day = collections.namedtuple("Day", "apache iso midnight")

# What tollkeeper reads today.
MEASURED = ("bench", "tk", "combined", "nginx-json", "caddy", "w3c", "haproxy", "squid")


# The day of the lines, unless one is given.
DAY = datetime.date(2026, 1, 15)


def day_of(date):
    return Day(date.strftime("%d/%b/%Y"), date.isoformat(), (date.toordinal() - 719_163) * 86_400)


def clock(request):
    at = request.at
    return f"{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}"


def milliseconds(request):
    """Of the second that the request ended in; and of what it took."""
    return request.number * 7919 % 1000, request.number * 104_729 % 700


# A quote within quotes: Apache's way and JSON's, and nginx's.
BACKSLASH, HEX = '\\"', "\\x22"


def quoted(text, quote):
    return text.replace('"', quote) if '"' in text else text


def bench(request, day):
    """The site first and the bytes in and out last, so that awk can sum the last two columns by the first."""
    r = request
    return (f'{r.vhost} {r.client} - {r.user} [{day.apache}:{clock(r)} +0000] '
            f'"{r.method} {r.path} {r.version}" {r.status} {r.body or "-"} '
            f'"{quoted(r.referer, BACKSLASH)}" "{r.agent}" {r.received} {r.sent}')


def combined(request, day):
    r = request
    return (f'{r.client} - {r.user} [{day.apache}:{clock(r)} +0000] '
            f'"{r.method} {r.path} {r.version}" {r.status} {r.body or "-"} '
            f'"{quoted(r.referer, BACKSLASH)}" "{r.agent}"')


def tk(request, day):
    r = request
    ends, took = milliseconds(r)
    return (f'{day.midnight + r.at}.{ends:03d} {r.status} {r.received} {r.sent} 0.{took:03d} {r.client} '
            f'{r.vhost} "{r.user}" "{r.method} {r.path} {r.version}" '
            f'"{quoted(r.referer, HEX)}" "{r.agent}"')


def or_nothing(text):
    """With escape=json, nginx writes nothing for a variable that is not there."""
    return "" if text == "-" else text


def nginx_json(request, day):
    r = request
    return (f'{{"time":"{day.iso}T{clock(r)}+00:00","remote_addr":"{r.client}","host":"{r.vhost}",'
            f'"user":"{or_nothing(r.user)}","request":"{r.method} {r.path} {r.version}","status":{r.status},'
            f'"request_length":{r.received},"bytes_sent":{r.sent},"request_time":0.{milliseconds(r)[1]:03d},'
            f'"referer":"{or_nothing(quoted(r.referer, BACKSLASH))}","user_agent":"{or_nothing(r.agent)}"}}')


def caddy(request, day):
    """As Caddy 2.6 writes it to a file: the request's and the answer's heads in full, about 1 KB a line."""
    r = request
    ends, took = milliseconds(r)
    heads = {"User-Agent": [r.agent], "Accept": ["text/html,application/xhtml+xml,*/*;q=0.8"],
             "Accept-Language": ["en-US,en;q=0.5"], "Accept-Encoding": ["gzip, deflate, br, zstd"],
             "Sec-Fetch-Dest": ["document"], "Sec-Fetch-Mode": ["navigate"], "Cookie": []}
    if r.referer != "-":
        heads["Referer"] = [r.referer]
    return json.dumps({
        "level": "info", "ts": day.midnight + r.at + ends / 1000, "logger": "http.log.access.log0",
        "msg": "handled request",
        "request": {"remote_ip": r.client, "remote_port": str(1024 + r.number % 60_000),
                    "proto": r.version, "method": r.method, "host": r.vhost, "uri": r.path,
                    "headers": heads,
                    "tls": {"resumed": False, "version": 772, "cipher_suite": 4865, "proto": "h2",
                            "server_name": r.vhost}},
        "bytes_read": max(0, r.received - 650), "user_id": or_nothing(r.user),
        "duration": took / 1000, "size": r.body, "status": int(r.status),
        "resp_headers": {"Server": ["Caddy"], "Alt-Svc": ['h3=":443"; ma=2592000'],
                         "Content-Type": ["text/html; charset=utf-8"], "Accept-Ranges": ["bytes"],
                         "Etag": [f'"{r.number:x}"'], "Last-Modified": ["Thu, 01 Jan 2026 00:00:00 GMT"]},
    }, separators=(",", ":"))


def w3c(request, day):
    r = request
    path, _, query = r.path.partition("?")
    return (f'{day.iso} {clock(r)} {r.vhost} {r.method} {path} {query or "-"} {r.user} {r.client} '
            f'{r.version} {r.agent.replace(" ", "+")} {r.referer} {r.status} {r.sent} {r.received} '
            f'{milliseconds(r)[1]}')


W3C_HEAD = ("#Software: benches/generate\n#Version: 1.0\n#Fields: date time cs-host cs-method cs-uri-stem "
            "cs-uri-query cs-username c-ip cs-version cs(User-Agent) cs(Referer) sc-status sc-bytes "
            "cs-bytes time-taken\n")


def haproxy(request, day):
    """`option httplog` with the host captured, as HAProxy writes it to standard output."""
    r = request
    ends, took = milliseconds(r)
    return (f'{r.client}:{1024 + r.number % 60_000} [{day.apache}:{clock(r)}.{ends:03d}] web~ servers/one '
            f'0/0/1/{took}/{took + 1} {r.status} {r.sent} - - ---- 9/9/3/1/0 0/0 {{{r.vhost}}} '
            f'"{r.method} {r.path} {r.version}"')


def squid(request, day):
    """Squid's own format, `squid`."""
    r = request
    ends, took = milliseconds(r)
    return (f'{day.midnight + r.at}.{ends:03d} {took:6d} {r.client} TCP_MISS/{r.status} {r.sent} {r.method} '
            f'https://{r.vhost}{r.path} {r.user} HIER_DIRECT/192.0.2.1 text/html')


SHAPES = {
    "bench": Shape(r'apache:LogFormat "%v %h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" '
                   r'%I %O" bench', bench),
    "tk": Shape("nginx:log_format tk '$msec $status $request_length $bytes_sent $request_time $remote_addr "
                "$host \"$remote_user\" \"$request\" \"$http_referer\" \"$http_user_agent\"';", tk),
    "combined": Shape("combined", combined, vhost="site.example"),
    "nginx-json": Shape(
        "nginx:log_format json escape=json '{\"time\":\"$time_iso8601\",\"remote_addr\":\"$remote_addr\","
        "\"host\":\"$host\",\"user\":\"$remote_user\",\"request\":\"$request\",\"status\":$status,"
        "\"request_length\":$request_length,\"bytes_sent\":$bytes_sent,\"request_time\":$request_time,"
        "\"referer\":\"$http_referer\",\"user_agent\":\"$http_user_agent\"}';", nginx_json),
    "caddy": Shape("caddy", caddy),
    "w3c": Shape("w3c", w3c, head=W3C_HEAD),
    "haproxy": Shape("haproxy", haproxy),
    "squid": Shape("squid", squid, vhost="site.example"),
}


def arguments(name):
    """What tollkeeper is told of a log of this shape."""
    shape = SHAPES[name]
    site = ["--vhost", shape.vhost] if shape.vhost else []
    return ["--format", shape.format, *site]
