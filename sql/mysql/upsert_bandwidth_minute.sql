INSERT INTO bandwidth_minute (vhost, `of`, part, day, minute, `in`, `out`, requests) VALUES {(?, ?, ?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE `in` = bandwidth_minute.`in` + VALUES(`in`), `out` = bandwidth_minute.`out` + VALUES(`out`),
    requests = bandwidth_minute.requests + VALUES(requests)
