SELECT `start`, `end`, `lines`, node, source, day FROM tollkeeper_unparsed WHERE `position` = ? ORDER BY `start`
