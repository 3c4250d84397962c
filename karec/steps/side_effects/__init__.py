"""Side effects: they run after the page was returned."""
