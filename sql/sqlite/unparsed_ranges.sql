SELECT start, "end", lines, node, source, day FROM unparsed WHERE position = ?1 ORDER BY start
