SELECT u.vhost, u.`user`, {
    sum(if(u.day >= ?, greatest(u.`in`, 0) - greatest(coalesce(c.`in`, 0), 0), 0)),
    sum(if(u.day >= ?, greatest(u.`out`, 0) - greatest(coalesce(c.`out`, 0), 0), 0)),
    sum(if(u.day >= ?, greatest(u.requests, 0) - greatest(coalesce(c.requests, 0), 0), 0))}
FROM bandwidth_user u
LEFT JOIN bandwidth_claimed c ON c.vhost = u.vhost AND c.`user` = u.`user` AND c.day = u.day
WHERE u.day >= ? AND u.day < ? GROUP BY u.vhost, u.`user`
