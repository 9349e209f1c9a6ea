INSERT INTO bandwidth (vhost, day, `in`, `out`, requests) VALUES {(?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE `in` = bandwidth.`in` + VALUES(`in`), `out` = bandwidth.`out` + VALUES(`out`),
    requests = bandwidth.requests + VALUES(requests)
