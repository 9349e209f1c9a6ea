SELECT DISTINCT vhost, `user` FROM bandwidth_user
