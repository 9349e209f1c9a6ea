"""The traffic that the benchmarks' logs tell of: the same requests for the same options.

Sites after Zipf, one request in five by a user, IPv4 and IPv6 clients, real agents and referers.
"""

import collections
import itertools
import random

AGENTS = [
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Chrome/142.0.0.0 Safari/537.36", 20),
    ("Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Chrome/142.0.0.0 Mobile Safari/537.36", 16),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
     "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", 14),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", 14),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
     "(KHTML, like Gecko) Version/18.5 Safari/605.1.15", 6),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 6),
    ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", 4),
    ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", 3),
    ("curl/8.14.1", 7),
    ("python-requests/2.32.5", 4),
    ("WordPress/6.8.3; https://example.org", 1),
    ("Nextcloud-android/3.33.0", 1),
    ("-", 1),
]
REFERERS = [("-", 72), ("https://www.google.com/", 8), ("https://{vhost}/", 12),
            ("https://{vhost}/index.php?page=2", 5), ("https://duckduckgo.com/", 3),
            ("https://t.co/Xy3kQ9", 1), ('https://{vhost}/search?q="cheap"', 1)]
PATHS = [("/", 10), ("/index.php", 6), ("/wp-content/themes/main/style.css?ver=6.8.3", 8),
         ("/wp-includes/js/jquery/jquery.min.js?ver=3.7.1", 8), ("/favicon.ico", 4),
         ("/images/{n}.jpg", 18), ("/wp-content/uploads/2025/11/photo-{n}-1024x768.webp", 12),
         ("/articles/{n}/a-title-as-long-as-titles-are", 10), ("/api/v1/items/{n}?fields=all", 6),
         ("/downloads/archive-{n}.tar.gz", 2), ("/robots.txt", 3), ("/wp-login.php", 3),
         ("/feed/", 3), ("/search?q=%C5%BC%C3%B3%C5%82w+{n}", 2), ("/dav/files/{n}.pdf", 5)]
METHODS = [("GET", 88), ("POST", 8), ("HEAD", 3), ("PUT", 1)]
STATUSES = [("200", 82), ("304", 7), ("404", 5), ("301", 2), ("206", 2), ("401", 1), ("403", 1)]
VERSIONS = [("HTTP/1.1", 60), ("HTTP/2.0", 40)]
NAMES = ("anna bob carol dave erin frank grace heidi ivan judy mallory niaj olivia peggy rupert "
         "sybil trent victor walter").split()
TLDS = "com org net pl de eu info".split()

USERS_OF_A_SITE = 500
# Multiplying by an odd number is one-to-one below 2^64: no forged name comes twice.
ODD = 0x9E3779B97F4A7C15
# A prime larger than any log that is made here: multiplying by it shuffles the numbers below the lines.
PRIME = 1_000_000_007

# `at`: seconds since the day began. `body`, `sent`, `received`: bytes; `sent` with the head. Text is as
# the client sent it; `-` stands for none.
Request = collections.namedtuple(
    "Request", "number at vhost client user method path version status body sent received referer agent")


def requests(lines, vhosts=2_000, users=5_000, seed=1):
    """Yields them in batches, in the order of time, over one day."""
    dice = random.Random(seed)
    sites = [f"{dice.choice(('', '', 'www.', 'shop.'))}site{number:04d}.{dice.choice(TLDS)}"
             for number in range(vhosts)]
    # Each user belongs to one site; large sites have more of them.
    popularity = zipf(vhosts)
    members = [[] for _ in sites]
    for number in range(users):
        home = dice.choices(range(vhosts), cum_weights=popularity)[0]
        members[home].append(f"{dice.choice(NAMES)}{number}")
    members = [(names or ["webmaster"]) for names in members]
    member_shares = [zipf(len(names)) for names in members]
    clients = [client(dice) for _ in range(20_000)]

    written, batch = 0, 50_000
    while written < lines:
        count = min(batch, lines - written)

        def draw(pairs):
            values, shares = cumulative(pairs)
            return dice.choices(values, cum_weights=shares, k=count)

        homes = dice.choices(range(vhosts), cum_weights=popularity, k=count)
        made = []
        for number, home, address, agent, referer, path, method, status, version in zip(
                range(written, written + count), homes, dice.choices(clients, k=count),
                draw(AGENTS), draw(REFERERS), draw(PATHS), draw(METHODS), draw(STATUSES),
                draw(VERSIONS)):
            user = "-"
            if dice.random() < 0.2:
                user = dice.choices(members[home], cum_weights=member_shares[home])[0]
            head = 180 + int(dice.random() * 160)
            body = 0
            if method != "HEAD" and status != "304":
                body = int(dice.lognormvariate(8.8, 1.8)) if status[0] == "2" else 196
            received = 150 + int(dice.random() * 500)
            if method in ("POST", "PUT"):
                received += int(dice.lognormvariate(7, 2))
            if "{n}" in path:
                path = path.replace("{n}", str(int(dice.random() * 50_000)))
            if "{v" in referer:
                referer = referer.replace("{vhost}", sites[home])
            made.append(Request(number, number * 86_400 // lines, sites[home], address, user, method,
                                path, version, status, body, head + body, received, referer, agent))
        yield made
        written += count


def client(dice):
    if dice.random() < 0.75:
        return (f"{dice.randrange(1, 224)}.{dice.randrange(256)}.{dice.randrange(256)}."
                f"{dice.randrange(1, 255)}")
    return (f"2001:db8:{dice.randrange(65536):x}:{dice.randrange(65536):x}::"
            f"{dice.randrange(1, 65536):x}")


def another_account(request, lines):
    """Each request by another user, 500 of each site, in no order."""
    site, user = divmod(request.number * PRIME % lines, USERS_OF_A_SITE)
    return request._replace(vhost=f"site{site:04d}.example", user=f"user{user:03d}", status="200")


def another_host(request, lines):
    """Each request to another host that somebody made up."""
    return request._replace(vhost=f"{request.number * ODD % 2**64:016x}.forged.example")


def another_user(request, lines):
    """Each request to one site, by another user that somebody made up and that the site let in."""
    return request._replace(vhost="site.example", user=f"{request.number * ODD % 2**64:016x}",
                            status="200")


FLOODS = {"accounts": another_account, "hosts": another_host, "users": another_user}


def cumulative(pairs):
    return [value for value, _ in pairs], list(itertools.accumulate(share for _, share in pairs))


def zipf(count, exponent=1.0):
    return list(itertools.accumulate(1 / rank ** exponent for rank in range(1, count + 1)))
