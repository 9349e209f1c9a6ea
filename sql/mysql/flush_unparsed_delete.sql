DELETE FROM tollkeeper_unparsed WHERE `position` = ? AND (`start`, `end`) IN ({(?, ?)})
