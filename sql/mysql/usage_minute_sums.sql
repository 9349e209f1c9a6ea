SELECT vhost, `of`, part, day, minute DIV ? AS step, sum(`in`), sum(`out`), sum(requests) FROM bandwidth_minute
WHERE minute >= ? AND minute < ? AND `of` IN ({?})
GROUP BY vhost, `of`, part, day, step
