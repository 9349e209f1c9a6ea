-- The table compares names as it always did: what two spellings of a name have moved is added to its one row.
UPDATE <users> SET bytes = coalesce(bytes, 0) + {if(`user` = ?, ?, 0)| + } WHERE `user` IN ({?})
