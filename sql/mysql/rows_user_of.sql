SELECT day, vhost, `user`, NULL, NULL, `in`, `out`, requests FROM bandwidth_user
WHERE vhost = ? AND day >= ? AND day <= ?
