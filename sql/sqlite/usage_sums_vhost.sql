-- Halves of 32 bits are added up, whose sums always fit: sum() of whole amounts may not.
SELECT vhost, '', {
    sum(iif(day >= ?, "in" >> 32, 0)), sum(iif(day >= ?, "in" & 4294967295, 0)),
    sum(iif(day >= ?, "out" >> 32, 0)), sum(iif(day >= ?, "out" & 4294967295, 0)),
    sum(iif(day >= ?, requests >> 32, 0)), sum(iif(day >= ?, requests & 4294967295, 0))}
FROM bandwidth WHERE day >= ? AND day < ? GROUP BY vhost
