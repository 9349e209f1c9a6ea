-- Quotas: what they are weighed by, what operators say of them, and what was told.

-- The part of bandwidth_user whose names no server vouches for: it never counts against a quota.
CREATE TABLE bandwidth_claimed (
    vhost    TEXT    NOT NULL,
    "user"   TEXT    NOT NULL,
    day      TEXT    NOT NULL,
    "in"     INTEGER NOT NULL,
    "out"    INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (vhost, "user", day)
) STRICT, WITHOUT ROWID;
CREATE INDEX bandwidth_claimed_day ON bandwidth_claimed (day);

-- The same bytes once more, by minute, of accounts whose quotas are shorter than a day or rolling.
CREATE TABLE bandwidth_minute (
    vhost    TEXT    NOT NULL,
    of       INTEGER NOT NULL,  -- 0 a vhost, 1 a user whose name a server vouches for, 2 a class
    part     TEXT    NOT NULL,  -- the user or the class; '' of a whole vhost
    day      TEXT    NOT NULL,  -- the day that the bytes are billed on
    minute   INTEGER NOT NULL,  -- since 1970
    "in"     INTEGER NOT NULL,
    "out"    INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (vhost, of, part, day, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX bandwidth_minute_minute ON bandwidth_minute (minute);

-- Quotas beside those of the config. Written by people and panels, read within seconds. A row names
-- one of vhost, user and owner, and one of period and rolling; the words are those of [[quota]] in
-- the config. A row that makes no sense is named, and it alone does not count. An empty text is as good as NULL.
CREATE TABLE quota (
    id          INTEGER PRIMARY KEY,
    vhost       TEXT,                -- a site, *.suffix, or *
    "user"      TEXT,                -- a user, or *
    vhosts      TEXT,                -- of a user's quota: these sites, with commas or blanks between; NULL or *: all
    owner       TEXT,                -- an owner, or *
    class       TEXT,                -- only what this class of clients had
    amount      TEXT,                -- 100G; a bare number for requests
    measure     TEXT,                -- out, in, both or requests; NULL: out
    period      TEXT,                -- day, week, month, year, or 4W
    rolling     TEXT,                -- 30D, in place of a period
    billing_day TEXT,                -- of a month: its day, 1 to 31; of a year: MM-DD
    anchor      TEXT,                -- from when on periods such as 4W are counted: YYYY-MM-DD HH:MM
    slice       TEXT,                -- 1W: the amount opens share by share
    warn        TEXT,                -- 80, 95: percentages at which somebody is warned
    exceeded    TEXT,                -- 100 speed 1Mbps, 150 deny 429; or 100 redirect https://...; NULL: 100 deny 429
    reopen      TEXT,                -- of a rolling window: percent below which it opens again
    report_only INTEGER DEFAULT 0    -- 1: verdicts are shown, and close nothing
) STRICT;

-- Whose site is whose.
CREATE TABLE owner (
    owner TEXT NOT NULL,
    vhost TEXT NOT NULL,
    PRIMARY KEY (owner, vhost)
) STRICT, WITHOUT ROWID;

-- Classes of clients: 153.19.0.0/16 and the like.
CREATE TABLE class (
    class   TEXT NOT NULL,
    network TEXT NOT NULL,
    PRIMARY KEY (class, network)
) STRICT, WITHOUT ROWID;

-- What was granted and forgiven, beside the quotas.
CREATE TABLE quota_grant (
    id           INTEGER PRIMARY KEY,
    quota        TEXT    NOT NULL,  -- by name, as `tollkeeper quota list` shows it
    account_kind TEXT    NOT NULL,  -- vhost, user or owner
    name         TEXT    NOT NULL,
    class        TEXT,
    kind         TEXT    NOT NULL,  -- more: may be spent; reset: so much is forgiven
    amount       INTEGER NOT NULL,  -- bytes, or requests
    "at"         INTEGER NOT NULL,  -- from then on, in seconds since 1970
    until        INTEGER            -- NULL: no end
) STRICT;
CREATE INDEX quota_grant_until ON quota_grant (until);

-- Accounts that nothing is closed to. They still count.
CREATE TABLE quota_exempt (
    id           INTEGER PRIMARY KEY,
    account_kind TEXT    NOT NULL,  -- vhost, user or owner
    name         TEXT    NOT NULL,
    class        TEXT,
    quota        TEXT,              -- of this quota alone
    until        INTEGER            -- seconds since 1970; NULL: no end
) STRICT;

-- Thresholds that somebody was told of, each once.
CREATE TABLE told (
    quota        TEXT    NOT NULL,
    account_kind TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    class        TEXT    NOT NULL,  -- '': none
    begins       INTEGER NOT NULL,  -- of the period, in seconds since 1970; 0: it has no begin
    percent      INTEGER NOT NULL,
    told         INTEGER NOT NULL,  -- seconds since 1970
    PRIMARY KEY (quota, account_kind, name, class, begins, percent)
) STRICT, WITHOUT ROWID;
