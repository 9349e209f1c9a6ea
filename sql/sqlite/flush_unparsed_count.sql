SELECT count(*) FROM unparsed WHERE position = ?1
