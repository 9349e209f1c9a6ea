SELECT vhost, '', {sum(if(day >= ?, `in`, 0)), sum(if(day >= ?, `out`, 0)), sum(if(day >= ?, requests, 0))}
FROM bandwidth WHERE day >= ? AND day < ? GROUP BY vhost
