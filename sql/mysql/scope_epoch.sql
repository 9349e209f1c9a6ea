SELECT epoch FROM tollkeeper_scope WHERE scope = ?
