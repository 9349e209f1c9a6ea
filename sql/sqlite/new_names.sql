SELECT day, vhost, names FROM new_names WHERE day >= ?1
