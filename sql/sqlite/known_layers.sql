SELECT DISTINCT layer, vhost FROM bandwidth_layer
