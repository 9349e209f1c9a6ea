SELECT `user`, bytes, maxbytes FROM <users> LIMIT 0
