SELECT `position`, count(*) FROM tollkeeper_unparsed WHERE `position` IN ({?}) GROUP BY `position`
