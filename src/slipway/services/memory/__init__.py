"""Sessions and their messages: what was said, in order, never changed."""
