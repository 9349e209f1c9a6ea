SELECT day, vhost, NULL, NULL, layer, `in`, `out`, requests FROM bandwidth_layer
WHERE vhost = ? AND day >= ? AND day <= ?
