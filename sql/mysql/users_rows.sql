SELECT `user`, bytes, maxbytes FROM <users>
