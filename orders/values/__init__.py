"""What a client may send: addresses, amounts, and the names of fields."""
