UPDATE <users> SET bytes = ifnull(bytes, 0) + ?2 WHERE "user" = ?1
