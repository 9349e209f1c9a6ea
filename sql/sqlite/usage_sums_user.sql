-- Halves of 32 bits are added up, whose sums always fit: sum() of whole amounts may not.
SELECT vhost, "user", {
    sum(iif(day >= ?, bytes_in >> 32, 0)), sum(iif(day >= ?, bytes_in & 4294967295, 0)),
    sum(iif(day >= ?, bytes_out >> 32, 0)), sum(iif(day >= ?, bytes_out & 4294967295, 0)),
    sum(iif(day >= ?, requests >> 32, 0)), sum(iif(day >= ?, requests & 4294967295, 0))}
FROM (
    SELECT u.vhost, u."user", u.day,
        max(u."in", 0) - max(ifnull(c."in", 0), 0) AS bytes_in,
        max(u."out", 0) - max(ifnull(c."out", 0), 0) AS bytes_out,
        max(u.requests, 0) - max(ifnull(c.requests, 0), 0) AS requests
    FROM bandwidth_user u
    LEFT JOIN bandwidth_claimed c ON c.vhost = u.vhost AND c."user" = u."user" AND c.day = u.day
) WHERE day >= ? AND day < ? GROUP BY vhost, "user"
