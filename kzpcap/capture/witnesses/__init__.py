"""Second readers, for corroboration only: nothing else imports them."""
