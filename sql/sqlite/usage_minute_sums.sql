-- Halves of 32 bits are added up, whose sums always fit: sum() of whole amounts may not.
SELECT vhost, of, part, day, minute / ? AS step,
    sum("in" >> 32), sum("in" & 4294967295), sum("out" >> 32), sum("out" & 4294967295),
    sum(requests >> 32), sum(requests & 4294967295)
FROM bandwidth_minute
WHERE minute >= ? AND minute < ? AND of IN ({?})
GROUP BY vhost, of, part, day, step
