DELETE tollkeeper_unparsed FROM tollkeeper_unparsed
JOIN tollkeeper_position ON tollkeeper_position.id = tollkeeper_unparsed.`position`
WHERE tollkeeper_position.updated < ? AND tollkeeper_position.state <> 0
