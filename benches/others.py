"""The other programs that sum a log by site: how each is told to, and what it came to.

They read logs of the shape `bench`. Each answer is a dict from the site to (bytes in, bytes out).
"""

import json
import re
import subprocess

MAWK = "{i[$1]+=$(NF-1);o[$1]+=$NF} END{for(v in i) print v,i[v],o[v]}"
# The same, in digits: mawk prints large numbers with an exponent.
MAWK_EXACTLY = '{i[$1]+=$(NF-1);o[$1]+=$NF} END{for(v in i) printf "%s %.0f %.0f\\n",v,i[v],o[v]}'

# Takes the bytes sent with the head (`%O`) for the size; what comes in it does not sum.
GOACCESS_FORMAT = '%v %h %^ %e [%d:%t %^] "%r" %s %^ "%R" "%u" %^ %b'
GOACCESS_PANELS = ("REQUESTS REQUESTS_STATIC NOT_FOUND HOSTS OS BROWSERS VISIT_TIMES REFERRERS "
                   "REFERRING_SITES KEYPHRASES STATUS_CODES CACHE_STATUS GEO_LOCATION MIME_TYPE "
                   "TLS_TYPE ASN").split()

MTAIL = r"""counter bytes_in by vhost
counter bytes_out by vhost

/^(?P<vhost>\S+) .* (?P<in>\d+) (?P<out>\d+)$/ {
  bytes_in[$vhost] += $in
  bytes_out[$vhost] += $out
}
"""
MTAIL_METRIC = re.compile(r'^bytes_(in|out)\{.*vhost="([^"]*)"\} (\S+)$', re.M)


def wc(log):
    return ["wc", "-l", log]


def mawk(log):
    return ["mawk", MAWK, log]


def mawk_totals(log):
    """By the exact program, which is a run of its own: the measured one is what people write."""
    totals = {}
    for line in subprocess.check_output(["mawk", MAWK_EXACTLY, log], text=True).splitlines():
        vhost, bytes_in, bytes_out = line.split(" ")
        totals[vhost] = int(bytes_in), int(bytes_out)
    return totals


def goaccess(log, report, all_panels):
    """A JSON report. With all panels it is GoAccess as it comes; without, it sums days, sites and users."""
    panels = [] if all_panels else [f"--ignore-panel={panel}" for panel in GOACCESS_PANELS]
    return ["goaccess", log, "--no-global-config", "--no-progress", f"--log-format={GOACCESS_FORMAT}",
            "--date-format=%d/%b/%Y", "--time-format=%H:%M:%S", "--max-items=1000000", *panels,
            "-o", report]


def goaccess_totals(report):
    with open(report, encoding="utf-8", errors="replace") as file:
        told = json.load(file)
    refused = told["general"]["failed_requests"]
    return {row["data"]: (None, row["bytes"]["count"]) for row in told["vhosts"]["data"]}, refused


def mtail(log, programs):
    """Reads the log once and prints its counters. `programs`: a folder, which its program is put into."""
    (programs / "bytes.mtail").write_text(MTAIL)
    return ["mtail", "--one_shot", "--one_shot_format=prometheus", "--progs", str(programs),
            "--log_dir", str(programs), "--logs", log]


def mtail_totals(said):
    totals = {}
    for direction, vhost, value in MTAIL_METRIC.findall(said.decode()):
        totals.setdefault(vhost, {})[direction] = int(float(value))
    return {vhost: (both.get("in"), both.get("out")) for vhost, both in totals.items()}


def difference(theirs, ours):
    """The sites whose bytes differ; a direction that they do not sum is not compared."""
    def same(vhost):
        if vhost not in theirs or vhost not in ours:
            return False
        return all(a is None or a == b for a, b in zip(theirs[vhost], ours[vhost]))

    return sorted(vhost for vhost in theirs.keys() | ours.keys() if not same(vhost))
