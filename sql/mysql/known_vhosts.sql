SELECT DISTINCT vhost FROM bandwidth
