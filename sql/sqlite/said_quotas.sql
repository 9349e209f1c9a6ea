SELECT id, vhost, "user", vhosts, owner, class, amount, measure, period, rolling, billing_day, anchor, slice, warn,
    exceeded, reopen, report_only
FROM quota ORDER BY id LIMIT ?
