INSERT INTO bandwidth_claimed (vhost, `user`, day, `in`, `out`, requests) VALUES {(?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE `in` = bandwidth_claimed.`in` + VALUES(`in`), `out` = bandwidth_claimed.`out` + VALUES(`out`),
    requests = bandwidth_claimed.requests + VALUES(requests)
