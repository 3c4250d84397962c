"""What is known of the platform at a moment: users, works, how they are related, and what was shown to
whom."""
