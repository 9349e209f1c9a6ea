UPDATE bandwidth SET `in` = coalesce(`in`, 0), `out` = coalesce(`out`, 0) WHERE `in` IS NULL OR `out` IS NULL
