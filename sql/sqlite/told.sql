SELECT quota, account_kind, name, class, begins, percent FROM told
