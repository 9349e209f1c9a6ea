SELECT day, vhost, names FROM tollkeeper_new_names WHERE day >= ?
