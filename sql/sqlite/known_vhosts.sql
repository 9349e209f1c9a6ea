-- A walk over the primary key that skips from name to name.
WITH RECURSIVE name (vhost) AS (
    SELECT min(vhost) FROM bandwidth
    UNION ALL
    SELECT (SELECT min(vhost) FROM bandwidth WHERE vhost > name.vhost) FROM name WHERE name.vhost IS NOT NULL
)
SELECT vhost FROM name WHERE vhost IS NOT NULL
