SELECT vhost, '', day, `in`, `out`, requests FROM bandwidth WHERE day >= ?
