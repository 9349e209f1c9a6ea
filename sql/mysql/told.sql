SELECT quota, account_kind, name, class, begins, percent FROM tollkeeper_told
