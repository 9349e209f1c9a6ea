INSERT INTO bandwidth_user (vhost, `user`, day, `in`, `out`, requests) VALUES {(?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE `in` = bandwidth_user.`in` + VALUES(`in`), `out` = bandwidth_user.`out` + VALUES(`out`),
    requests = bandwidth_user.requests + VALUES(requests)
