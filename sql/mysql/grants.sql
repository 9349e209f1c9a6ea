-- For `tollkeeper store init` and `store upgrade`: once, and for whoever runs them.
GRANT SELECT, INSERT, UPDATE, CREATE, ALTER, INDEX ON {schema}.* TO {account};

-- For `tollkeeper run`, `import`, `check` and `report`, all the time. The tables must be there.
GRANT SELECT, INSERT, UPDATE ON {database}.bandwidth TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.bandwidth_user TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.bandwidth_class TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.bandwidth_layer TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.bandwidth_claimed TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.bandwidth_minute TO {account};
GRANT SELECT ON {database}.quota TO {account};
GRANT SELECT ON {database}.owner TO {account};
GRANT SELECT ON {database}.class TO {account};
GRANT SELECT, DELETE ON {database}.quota_grant TO {account};
GRANT SELECT ON {database}.quota_exempt TO {account};
GRANT SELECT, INSERT, DELETE ON {database}.tollkeeper_told TO {account};
GRANT SELECT ON {database}.tollkeeper_meta TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.tollkeeper_writer TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.tollkeeper_searched TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.tollkeeper_scope TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.tollkeeper_position TO {account};
GRANT SELECT, INSERT, DELETE ON {database}.tollkeeper_unparsed TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.tollkeeper_balance TO {account};
GRANT SELECT, INSERT, UPDATE ON {database}.tollkeeper_new_names TO {account};
GRANT SELECT, INSERT ON {database}.tollkeeper_gap TO {account};

-- For `tollkeeper quota grant`, `reset` and `exempt`, and for whoever runs them.
GRANT INSERT ON {database}.quota_grant TO {account};
GRANT INSERT, DELETE ON {database}.quota_exempt TO {account};
