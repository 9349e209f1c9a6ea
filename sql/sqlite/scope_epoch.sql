SELECT epoch FROM scope WHERE scope = ?1
