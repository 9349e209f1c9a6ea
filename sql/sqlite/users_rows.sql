SELECT "user", cast(bytes AS INTEGER), cast(maxbytes AS INTEGER) FROM <users>
