SELECT u.vhost, u."user", u.day,
    max(u."in", 0) - max(ifnull(c."in", 0), 0),
    max(u."out", 0) - max(ifnull(c."out", 0), 0),
    max(u.requests, 0) - max(ifnull(c.requests, 0), 0)
FROM bandwidth_user u
LEFT JOIN bandwidth_claimed c ON c.vhost = u.vhost AND c."user" = u."user" AND c.day = u.day
WHERE u.day >= ?
