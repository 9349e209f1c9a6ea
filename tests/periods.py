#!/usr/bin/env python3
"""Periods computed a second time, by other means, for tests/periods.rs to compare.

Prints one JSON object a line: a period, a zone, an instant, and what follows from them. Always the same
ones. Needs Python 3.9 and the system's tzdata (Debian's, or PyPI's tzdata). All instants lie before 2025,
where what is known of the past no longer changes.
"""

import json
import random
from calendar import monthrange
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

UTC = timezone.utc
EPOCH = date(1970, 1, 1)
ZONES = [
    "Africa/Cairo", "America/Havana", "America/New_York", "America/Nuuk", "America/Sao_Paulo",
    "America/St_Johns", "Antarctica/Casey", "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Europe/Dublin", "Europe/Warsaw", "Pacific/Apia", "UTC",
]
# Local times that somebody has thought of; each goes with all periods.
NAMED = {
    "Europe/Warsaw": ["2024-03-31T01:59:59", "2024-03-31T03:00", "2024-10-27T02:30", "2024-02-29T12:00",
                      "2023-02-28T23:59:59", "2023-03-01T00:00", "2024-12-31T23:59:59"],
    "America/New_York": ["2024-03-10T03:00", "2024-11-03T01:30", "2024-11-30T23:59", "2024-02-29T00:00"],
    "Australia/Lord_Howe": ["2024-04-07T01:45", "2024-10-06T02:30"],
    "America/St_Johns": ["2006-10-29T00:00:30", "2006-10-28T23:30", "2006-10-29T00:30", "2011-03-13T00:02"],
    "Africa/Cairo": ["2023-04-28T01:00", "2023-04-27T23:59:59", "2023-10-26T23:30", "2014-05-16T01:00"],
    "Asia/Beirut": ["2022-03-27T01:00", "2023-03-26T01:00", "2024-10-26T23:30"],
    "America/Sao_Paulo": ["2017-10-15T01:00", "2017-10-14T23:59:59", "2018-02-17T23:30", "2018-02-18T00:00"],
    "America/Havana": ["2023-03-12T01:00", "2023-11-05T00:30"],
    "Pacific/Apia": ["2011-12-29T23:59:59", "2011-12-31T00:00", "2012-01-01T00:00"],
    "Antarctica/Casey": ["2010-03-05T00:30", "2010-03-04T23:30"],
    "Asia/Kathmandu": ["2024-02-29T00:00"],
    "UTC": ["2024-02-29T00:00", "2024-12-31T23:59:59"],
}


def show(zone, instant):
    """The clock of a zone at an instant."""
    return datetime.fromtimestamp(instant, UTC).astimezone(zone).replace(tzinfo=None)


def stamp(zone, wall, fold=0):
    return int(wall.replace(tzinfo=zone, fold=fold).timestamp())


@lru_cache(maxsize=None)
def day_begins(zone, day):
    """The first instant at which the clock shows this day or a later one."""
    midnight = datetime(day.year, day.month, day.day)
    instant = stamp(zone, midnight)
    if show(zone, instant) == midnight:
        return instant
    # Skipped: the clock was set somewhere between these two.
    low, high = stamp(zone, midnight, fold=1) - 1, instant
    offset = lambda at: show(zone, at) - datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    old = offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        if offset(middle) == old:
            low = middle
        else:
            high = middle
    return high


def day_at(zone, instant):
    """The last day that has begun."""
    day = show(zone, instant).date() + timedelta(days=3)
    while day_begins(zone, day) > instant:
        day -= timedelta(days=1)
    return day


def first_day_from(zone, instant):
    day = show(zone, instant).date() - timedelta(days=3)
    while day_begins(zone, day) < instant:
        day += timedelta(days=1)
    return day


def in_month(year, month, day):
    return date(year, month, min(day, monthrange(year, month)[1]))


def calendar(kind, args, day):
    """The first day of the period of a day, and that of the next."""
    if kind == "day":
        return day, day + timedelta(days=1)
    if kind == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    if kind == "month":
        starts = [in_month(y, m, args[0]) for y in range(day.year - 1, day.year + 2) for m in range(1, 13)]
    else:
        starts = [in_month(y, args[0], args[1]) for y in range(day.year - 2, day.year + 3)]
    return max(s for s in starts if s <= day), min(s for s in starts if s > day)


def edges(length, size):
    """Where slices end."""
    found = []
    while not found or found[-1] < length:
        found.append(min(length, (found[-1] if found else 0) + size))
    return found


def case(zone_name, now, period, slice_minutes, limit):
    zone = ZoneInfo(zone_name)
    kind, *args = period
    days = None
    if kind in ("day", "week", "month", "year"):
        days = calendar(kind, args, day_at(zone, now))
    elif kind == "minutes":
        minutes, anchor = args[0], datetime.fromisoformat(args[1])
        if minutes % 1440 == 0 and anchor.time() == datetime.min.time():
            length = minutes // 1440
            first = day_at(zone, now)
            while (first - anchor.date()).days % length:
                first -= timedelta(days=1)
            days = first, first + timedelta(days=length)
        else:
            # A skipped time is read by the clock as it was before: that is what fold=0 does.
            origin = stamp(zone, anchor)
            begins = now - (now - origin) % (minutes * 60)
            ends = begins + minutes * 60
            whole = first_day_from(zone, ends if minutes < 1440 else begins)
    elif kind == "rolling":
        last_minute = now - now % 60
        begins, ends = last_minute + 60 - args[0] * 60, None
        whole = first_day_from(zone, begins)
    if days:
        begins, ends = day_begins(zone, days[0]), day_begins(zone, days[1])
        whole = days[0]

    amount, more = limit, None
    if slice_minutes and ends is not None:
        if days and slice_minutes % 1440 == 0:
            length = (days[1] - days[0]).days
            instants = [(e, day_begins(zone, days[0] + timedelta(days=e)))
                        for e in edges(length, slice_minutes // 1440)]
        else:
            length = ends - begins
            instants = [(e, begins + e) for e in edges(length, slice_minutes * 60)]
        part, more = next((e, at) for e, at in instants if at > now)
        amount = limit * part // length
        if part == length:
            more = None
    return {
        "zone": zone_name, "now": now, "period": period, "slice": slice_minutes, "limit": limit,
        "begins": begins, "ends": ends, "first_whole_day": (whole - EPOCH).days,
        "opened": amount, "next": more,
    }


def changes(zone):
    """Instants from 1996 to 2024 at which the clock is set."""
    found = []
    day, offset = 820_454_400, None
    while day < 1_735_603_200:
        here = show(zone, day) - datetime.fromtimestamp(day, UTC).replace(tzinfo=None)
        if offset is not None and here != offset:
            low, high = day - 86_400, day
            while high - low > 1:
                middle = (low + high) // 2
                if show(zone, middle) - datetime.fromtimestamp(middle, UTC).replace(tzinfo=None) == offset:
                    low = middle
                else:
                    high = middle
            found.append(high)
        day, offset = day + 86_400, here
    return found


PERIODS = [
    (("day",), [None, 60, 360, 1440]),
    (("week",), [None, 1440, 2880, 1000]),
    (("month", 1), [None, 1440, 10080, 14400, 100_000]),
    (("month", 15), [None, 10080]),
    (("month", 29), [None, 1440, 10080]),
    (("month", 30), [None, 1440]),
    (("month", 31), [None, 1440, 10080, 7777]),
    (("year", 1, 1), [None, 10080, 43200]),
    (("year", 2, 29), [None, 1440, 100_000]),
    (("year", 12, 31), [None, 10080]),
    (("rolling", 1), [None]),
    (("rolling", 90), [None]),
    (("rolling", 1440), [None, 60]),
    (("rolling", 43200), [None]),
]
LENGTHS = [1, 7, 60, 90, 720, 1440, 1500, 2880, 10080, 40320, 40321, 100_000]
ANCHORS = ["1997-03-30T00:00", "2000-02-29T00:00", "2010-06-01T12:00", "2011-12-30T00:00",
           "2024-03-31T02:30", "2024-10-27T02:30", "2017-10-15T00:30", "2024-12-31T00:00",
           "2006-10-29T00:00", "2024-11-03T01:30", "1996-01-01T23:59:59"]
LIMITS = [0, 1, 7, 1000, 100_000_000_000, 2**63 - 1]


def main():
    dice = random.Random(2025)
    minutes = [(("minutes", length, anchor), [None, max(1, length // 4), 1440, 1000 * length])
               for length in LENGTHS for anchor in ANCHORS]

    def put(zone, now, choice):
        period, slices = choice
        print(json.dumps(case(zone, now, period, dice.choice(slices), dice.choice(LIMITS))))

    # What everybody knows of mod_cband: 100 G in four weeks, by weeks.
    monday = stamp(ZoneInfo("Europe/Warsaw"), datetime(2024, 3, 11))
    for week in range(4):
        print(json.dumps(case("Europe/Warsaw", monday + week * 604_800 + 7_200,
                              ("minutes", 40320, "2024-03-11T00:00"), 10080, 100_000_000_000)))
    for zone_name in ZONES:
        zone = ZoneInfo(zone_name)
        for text in NAMED.get(zone_name, []):
            wall = datetime.fromisoformat(text)
            for now in {stamp(zone, wall), stamp(zone, wall, fold=1)}:
                for choice in PERIODS + dice.sample(minutes, 20):
                    put(zone_name, now, choice)
        set_at = changes(zone)
        for at in dice.sample(set_at, min(25, len(set_at))):
            near = [at, at - 1, at + dice.randrange(-7_300, 7_300)]
            today = show(zone, at).date()
            for day in (today, today + timedelta(days=1), in_month(today.year, today.month, 31)):
                near += [day_begins(zone, day), day_begins(zone, day) - 1]
            for now in near:
                for choice in dice.sample(PERIODS, 2) + dice.sample(minutes, 1):
                    put(zone_name, now, choice)
        for _ in range(60):
            now = dice.randrange(820_454_400, 1_735_603_200)
            for choice in dice.sample(PERIODS, 2) + dice.sample(minutes, 2):
                put(zone_name, now, choice)


if __name__ == "__main__":
    main()
