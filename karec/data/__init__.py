"""Where data comes from: real logs in their official layouts, and a synthetic karaoke platform."""
