DELETE FROM bandwidth_minute WHERE (vhost, of, part, day, minute) IN (
    SELECT vhost, of, part, day, minute FROM bandwidth_minute WHERE minute < ? LIMIT ?)
