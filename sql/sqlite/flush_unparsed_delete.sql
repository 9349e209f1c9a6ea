DELETE FROM unparsed WHERE position = ?1 AND start = ?2 AND "end" = ?3
