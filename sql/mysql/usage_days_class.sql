SELECT vhost, class, day, `in`, `out`, requests FROM bandwidth_class WHERE day >= ?
