"""Find the cause of a break: drive an investigation, which says what to replay, and write what it finds."""
