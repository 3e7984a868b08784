"""Tables of users: files, and columns as a network takes them."""
