"""Files to text: detects the kind of a file, extracts its text with page offsets, in a process of its own."""
