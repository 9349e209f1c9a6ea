INSERT INTO bandwidth_layer (vhost, layer, day, `in`, `out`, requests) VALUES {(?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE `in` = bandwidth_layer.`in` + VALUES(`in`), `out` = bandwidth_layer.`out` + VALUES(`out`),
    requests = bandwidth_layer.requests + VALUES(requests)
