SELECT scope, epoch FROM tollkeeper_scope WHERE scope IN ({?}) FOR UPDATE
