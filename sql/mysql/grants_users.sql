
-- For `tollkeeper run` and `import`: mod_leech's table, which users_table in [store] names.
GRANT SELECT (`user`, bytes, maxbytes), UPDATE (bytes) ON {database}.{users} TO {account};
