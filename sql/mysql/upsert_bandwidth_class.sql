INSERT INTO bandwidth_class (vhost, class, day, `in`, `out`, requests) VALUES {(?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE `in` = bandwidth_class.`in` + VALUES(`in`), `out` = bandwidth_class.`out` + VALUES(`out`),
    requests = bandwidth_class.requests + VALUES(requests)
