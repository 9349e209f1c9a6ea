SELECT day, vhost, `user`, NULL, NULL, `in`, `out`, requests FROM bandwidth_user
WHERE day >= ? AND day <= ?
